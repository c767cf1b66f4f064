"""Run the program: find the command, parse the words after it, run it, and turn errors into an exit status."""

import sys

from jsonargparse import ArgumentError

import memzoo
from memzoo.cli.auditing import audit_command
from memzoo.cli.command import Command, CommandParser
from memzoo.cli.fitting import fit_command
from memzoo.cli.listing import info_command, list_command, schema_command
from memzoo.cli.reproducing import reproduce_command
from memzoo.cli.sharing import download_command, publish_command
from memzoo.cli.training import train_command
from memzoo.cli.verifying import verify_command
from memzoo.errors import MemzooError, UsageError
from memzoo.zoo.registry import add_registry, did_you_mean

DESCRIPTION = "Memorization in overparameterized autoencoders: a zoo of trained networks."
REGISTRY = "--registry"


def run(argv: list[str] | None) -> int:
    """Run one command, and return the exit status.

    Args:
        argv: The words after ``memzoo``; those of the process when left out.

    Raises:
        SystemExit: The words asked for the help, the version or a configuration, which is printed.
    """
    argv = sys.argv[1:] if argv is None else argv
    before, name, words = _split(argv)
    try:
        commands = {command.name: command for command in _commands(name, words)}
        parser = _program_parser(commands)
        try:
            arguments = parser.parser.parse_args(argv)
        except (ArgumentError, RecursionError) as error:
            raise UsageError(_explain(parser, commands, before, name, words, error)) from error
        for path in arguments.registry:
            add_registry(path)
        return commands[arguments.command].run(arguments[arguments.command])
    except UsageError as error:
        print(f"{'memzoo fit' if name == 'fit' else 'memzoo'}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except (MemzooError, OSError) as error:
        print(f"memzoo: {error}", file=sys.stderr)
        return 1


def _split(argv: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Return the words before the command, the command, and the words after it."""
    words = enumerate(argv)
    for place, word in words:
        if word == REGISTRY:
            next(words, None)  # the value of this option
        elif not word.startswith("-"):
            return argv[:place], word, argv[place + 1 :]
    return argv, None, []


def _commands(name: str | None, words: list[str]) -> list[Command]:
    """Describe all commands; parsers that import torch are only built for the command that is asked for."""
    return [
        list_command(),
        info_command(),
        train_command(words if name == "train" else []),
        verify_command(),
        publish_command(),
        download_command(),
        schema_command(),
        fit_command(words if name == "fit" else None),
        reproduce_command(),
        audit_command(),
    ]


def _program_parser(commands: dict[str, Command]) -> CommandParser:
    """Build the parser of the whole command line."""
    parser = CommandParser(prog="memzoo", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=memzoo.__version__)
    parser.add_argument(
        REGISTRY, action="append", default=[], help="one more registry file (also MEMZOO_REGISTRIES); before COMMAND"
    )
    subcommands = parser.parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for command in commands.values():
        subcommands.add_subcommand(command.name, command.parser.parser, help=command.text)
        command.parser.parser.prog = f"memzoo {command.name}"
    return parser


def _explain(
    parser: CommandParser,
    commands: dict[str, Command],
    before: list[str],
    name: str | None,
    words: list[str],
    error: Exception,
) -> str:
    """Return why the words were refused: the mistake in them if it is found, else the message of the parser."""
    # The checks follow the order of the words: before the command, the command itself, after the command.
    if (wrong := _find_unknown(before, parser)) is not None:
        return f"{wrong} See memzoo --help."
    if before[-1:] == [REGISTRY]:
        return f"{REGISTRY} needs a value: a registry file, before COMMAND. See memzoo --help."
    if name is None:
        return f"the following arguments are required: COMMAND, one of {', '.join(commands)}. See memzoo --help."
    if name not in commands:
        return f"invalid choice: {name!r}. {did_you_mean(name, commands)} See memzoo --help."
    command = commands[name]
    if any(word.partition("=")[0] == REGISTRY for word in words):
        return f"{REGISTRY} FILE stands before COMMAND: memzoo {REGISTRY} FILE {name}. See memzoo --help."
    if command.explain is not None:
        return command.explain(words, error)
    return f"{_explain_options(command.parser, words, error)} See memzoo {name} --help."


def _explain_options(parser: CommandParser, words: list[str], error: Exception) -> str:
    """Return the mistake in the words after a command, else the message of the parser."""
    # An unknown word is reported first: it is often the misspelt name of an option that is missing.
    if (wrong := _find_unknown(words, parser)) is not None:
        return wrong
    missing = [option for option in parser.required if not any(word.startswith(option) for word in words)]
    if not missing and not words:
        missing = parser.needed
    if missing:
        return f"the following arguments are required: {', '.join(missing)}."
    return f"{' '.join(str(error).split()).removesuffix('.')}."


def _find_unknown(words: list[str], parser: CommandParser) -> str | None:
    """Return a message about the first option that the parser does not have; None if it has all options."""
    for place, word in enumerate(words):
        option = word.partition("=")[0]
        if option.startswith("--") and option != "--" and option not in parser.options:
            # The next word is most likely the value of this option.
            value = [following for following in words[place + 1 : place + 2] if not following.startswith("-")]
            unknown = " ".join([word, *([] if "=" in word else value)])
            return f"unrecognized arguments: {unknown}. {did_you_mean(option, parser.options)}"
    return None
