"""``memzoo list``, ``info``, ``schema``: what the registry says."""

import json

from jsonargparse import Namespace

import memzoo
from memzoo.cli.command import Command, CommandParser


def list_command() -> Command:
    """Describe ``memzoo list``."""
    text = "List the checkpoints."
    parser = CommandParser(description=text)
    parser.add_argument("pattern", nargs="?", type=str, default="*", help="as in a shell, e.g. 'cifar10-*'")
    parser.add_argument("--json", action="store_true", help="entries as JSON")
    return Command("list", text, parser, _list)


def info_command() -> Command:
    """Describe ``memzoo info``."""
    text = "Show the entry of a checkpoint: recipe, facts, hashes, rights."
    parser = CommandParser(description=text)
    parser.add_argument("id", type=str)
    parser.add_argument("--json", action="store_true", help="as JSON instead of YAML")
    return Command("info", text, parser, _info)


def schema_command() -> Command:
    """Describe ``memzoo schema``."""
    text = "Print the JSON Schema of registry files, for editors."
    return Command("schema", text, CommandParser(description=text), _schema)


def _list(arguments: Namespace) -> int:
    entries = [memzoo.info(name) for name in memzoo.list_models(arguments.pattern)]
    if arguments.json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return 0
    width = max((len(entry.id) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.id:<{width}}  {entry.title}")
    return 0


def _info(arguments: Namespace) -> int:
    from memzoo.zoo import entry_yaml

    entry = memzoo.info(arguments.id)
    print(json.dumps(entry.model_dump(mode="json"), indent=2) if arguments.json else entry_yaml(entry), end="")
    return 0


def _schema(_: Namespace) -> int:
    from memzoo.zoo.registry import json_schema_text

    print(json_schema_text(), end="")
    return 0
