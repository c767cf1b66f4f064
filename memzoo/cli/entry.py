"""Enter the command line, and end it without a traceback: after Ctrl-C, and where the reader of a pipe has gone."""

import os
import sys
from typing import TextIO

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of the signal SIGINT, as a shell reports it."""
PIPE_CLOSED = 141
"""Exit status where nobody reads the output any more: 128 and the number of SIGPIPE."""


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after ``memzoo``; those of the process when left out.

    Returns:
        The exit status: 0 if the command did what was asked, 1 if a check failed or something was missing, 2 for wrong
        usage, 130 after Ctrl-C, 141 where the reader of the output has gone.

    Raises:
        SystemExit: The words asked for the help, the version or a configuration, which is printed.
    """
    try:
        try:
            # Imported here, since Ctrl-C may come while it is imported.
            from memzoo.cli.program import run

            return run(argv)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            _discard(stream)
        return PIPE_CLOSED
    except KeyboardInterrupt as interruption:
        return _report_interruption(interruption)
    except SystemExit as end:
        # Lightning ends the process so where it has caught Ctrl-C.
        if isinstance(end.__context__, KeyboardInterrupt):
            return _report_interruption(end.__context__)
        raise


def _report_interruption(interruption: KeyboardInterrupt) -> int:
    """Say in one line that the command was interrupted, and what is left if that is known."""
    print(": ".join(["memzoo: interrupted", *map(str, interruption.args)]), file=sys.stderr)
    return INTERRUPTED


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere if nobody reads it; Python would complain when it ends."""
    try:
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
