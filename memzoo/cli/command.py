"""One command of the command line, and the parser of its options."""

from argparse import HelpFormatter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser, Namespace


class CommandParser:
    """Parse the words of one command, and hold the names of its options.

    Args:
        parser: A parser that another module has built; a new one when left out.
        keywords: Arguments of the new parser.
    """

    def __init__(self, parser: ArgumentParser | None = None, **keywords: Any) -> None:
        self.parser: ArgumentParser = parser or ArgumentParser(
            exit_on_error=False, allow_abbrev=False, formatter_class=HelpFormatter, **keywords
        )
        self.options: list[str] = ["--help"]
        self.required: list[str] = []
        self.needed: list[str] = []
        """Arguments without a name that must be given."""

    def add_argument(self, *names: str, **keywords: Any) -> None:
        """Add an argument, and note its name if it is an option."""
        options = [name for name in names if name.startswith("--")]
        self.options += options
        self.required += options if keywords.get("required") else []
        self.needed += [name.upper() for name in names if not options and keywords.get("nargs") != "?"]
        self.parser.add_argument(*names, **keywords)


@dataclass(frozen=True)
class Command:
    """Describe the command for a word such as ``list``."""

    name: str
    text: str
    """What the command does, for the help."""
    parser: CommandParser
    run: Callable[[Namespace], int]
    """Run the command with the parsed arguments, and return the exit status."""
    explain: Callable[[list[str], Exception], str] | None = None
    """Say why the parser refused the words after the command, if the names of its options do not explain it."""
