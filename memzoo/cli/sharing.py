"""``memzoo publish``, ``download``: checkpoints to the Hub, and to machines without network."""

import sys
from pathlib import Path

from jsonargparse import Namespace

import memzoo
from memzoo.cli.choice import choose_available
from memzoo.cli.command import Command, CommandParser
from memzoo.errors import MemzooError, UsageError


def publish_command() -> Command:
    """Describe ``memzoo publish``."""
    text = "Publish a checkpoint to the Hugging Face Hub, in one commit."
    parser = CommandParser(description=text)
    parser.add_argument("id", nargs="?", type=str, help="of a registry, or local-dir:PATH as `memzoo train` writes it")
    parser.add_argument("repository", nargs="?", type=str, help="organisation/name")
    parser.add_argument("--all", action="store_true", help="every checkpoint, each to NAMESPACE/ID")
    parser.add_argument("--namespace", type=str, help="user or organisation, with --all")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--overwrite-card", action="store_true", help="replace a card that was edited by hand")
    parser.add_argument("--record", type=Path, metavar="FILE", help="registry file that receives repository and commit")
    return Command("publish", text, parser, _publish)


def download_command() -> Command:
    """Describe ``memzoo download``."""
    text = "Put whole checkpoints into a folder, for machines without network."
    parser = CommandParser(description=text)
    parser.add_argument("id", nargs="?", type=str)
    parser.add_argument("--all", action="store_true", help="every checkpoint")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="use it with MEMZOO_DIR=DIR")
    return Command("download", text, parser, _download)


def _publish(arguments: Namespace) -> int:
    options = {
        "dry_run": arguments.dry_run,
        "private": arguments.private,
        "overwrite_card": arguments.overwrite_card,
        "record": arguments.record,
    }
    pairs = _pair_with_repositories(arguments)
    failed = 0
    for count, (id, repository) in enumerate(pairs, 1):
        if len(pairs) > 1:
            print(f"[{count}/{len(pairs)}]", end=" ")
        try:
            # What is sent is listed before it is sent.
            result = memzoo.publish(id, repository, announce=lambda plan: print(plan, flush=True), **options)
        except MemzooError as error:  # one that cannot be published does not keep the others
            if len(pairs) == 1:
                raise
            print(f"{id}: FAILED\n  {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        print(result if arguments.dry_run else str(result).partition("\n")[0], flush=True)
        if not arguments.dry_run and arguments.record is None:
            print(f"\nThe entry for the registry:\n\n{result.yaml}")
    return 1 if failed else 0


def _pair_with_repositories(arguments: Namespace) -> list[tuple[str, str]]:
    """Return each checkpoint that is published, and the repository that it goes to."""
    if arguments.all:
        if arguments.id is not None or arguments.namespace is None:
            raise UsageError("publish --all takes --namespace NAME, and no id.")
        return [(id, f"{arguments.namespace}/{id}") for id in choose_available(None, True)]
    if arguments.id is None or arguments.repository is None or arguments.namespace is not None:
        raise UsageError("publish takes an id and a repository such as someone/cifar10-d1, or --all --namespace NAME.")
    return [(arguments.id, arguments.repository)]


def _download(arguments: Namespace) -> int:
    names = choose_available(arguments.id, arguments.all)
    failed = 0
    for count, name in enumerate(names, 1):
        try:
            folder = memzoo.download(name, arguments.to)
        except MemzooError as error:  # one that cannot be had does not keep the others
            if len(names) == 1:
                raise
            print(f"[{count}/{len(names)}] {name}: FAILED\n  {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        print(f"[{count}/{len(names)}] {name} -> {folder}", flush=True)
    print(f"{len(names) - failed} of {len(names)} are there; to use them: export MEMZOO_DIR={arguments.to.absolute()}")
    return 1 if failed else 0
