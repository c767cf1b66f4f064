"""One command of the command line, and the parser of its options."""

from argparse import HelpFormatter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser, Namespace


class CommandParser:
    """The parser of one command, and the names of its options.

    Args:
        parser: Where another module has built it; else a new one.
        keywords: Of the new one.
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
        """Add an argument, and note its name where it is an option."""
        options = [name for name in names if name.startswith("--")]
        self.options += options
        self.required += options if keywords.get("required") else []
        self.needed += [name.upper() for name in names if not options and keywords.get("nargs") != "?"]
        self.parser.add_argument(*names, **keywords)


@dataclass(frozen=True)
class Command:
    """What stands behind a word such as ``list``."""

    name: str
    text: str
    """What it does, for the help."""
    parser: CommandParser
    run: Callable[[Namespace], int]
    """What does it: from the parsed arguments to the exit status."""
    explain: Callable[[list[str], Exception], str] | None = None
    """Why the parser refused the words behind the command, where its options alone do not tell."""
