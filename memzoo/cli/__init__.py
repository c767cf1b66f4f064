"""The command line: parse arguments, call the rest.

Exit status: 0 when it did what was asked, 1 when a check failed or something was missing, 2 for wrong usage.
"""

from memzoo.cli.program import main

__all__ = ["main"]
