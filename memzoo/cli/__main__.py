"""``python -m memzoo.cli``: the command line."""

import sys

from memzoo.cli.entry import main

sys.exit(main())
