"""``python -m memzoo.cli``: the command line."""

import sys

from memzoo.cli import main

sys.exit(main())
