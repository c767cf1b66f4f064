"""``python -m memzoo.cli``: the command line."""

import sys

from memzoo.cli.program import main

sys.exit(main())
