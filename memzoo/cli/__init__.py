"""The command line: parse arguments, call the rest.

Exit status: 0 when it did what was asked, 1 when a check failed or something was missing, 2 for wrong usage,
130 after Ctrl-C, 141 where the reader of the output has gone.
"""

from memzoo.cli.entry import main

__all__ = ["main"]
