"""``memzoo verify``: recompute every fact of a checkpoint, or compare the registry with the Hub."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

import memzoo
from memzoo.cli.choice import choose, choose_available
from memzoo.cli.command import Command, CommandParser
from memzoo.errors import MemzooError, RegistryError

if TYPE_CHECKING:  # imports torch
    from memzoo.zoo import Difference, Verification


def verify_command() -> Command:
    """Describe ``memzoo verify``."""
    text = "Recompute every fact of a checkpoint from its files."
    parser = CommandParser(description=text)
    parser.add_argument("id", nargs="?", type=str)
    parser.add_argument("--all", action="store_true", help="every checkpoint")
    parser.add_argument("--hub", action="store_true", help="compare registry and Hub instead: missing, extra, changed")
    parser.add_argument("--data", type=Path, help="where the datasets lie, for facts of whole training sets")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return Command("verify", text, parser, _verify)


def _verify(arguments: Namespace) -> int:
    if arguments.hub:
        return _compare(arguments)
    results = []
    broken = False
    for name in choose_available(arguments.id, arguments.all):
        try:
            result = memzoo.verify(name, data_root=arguments.data)
        except MemzooError as error:  # one damaged checkpoint does not hide the others
            if not arguments.all:
                raise
            _print_failed(name, error)
            broken = True
            continue
        results.append(result)
        if not arguments.json:
            print(result, flush=True)
    if arguments.json:
        print(json.dumps([_as_json(result) for result in results], indent=2))
    return 1 if broken or not all(result.ok for result in results) else 0


def _print_failed(name: str, error: Exception) -> None:
    print(f"{name}: FAILED\n  {error}", file=sys.stderr, flush=True)


def _as_json(result: "Verification") -> dict[str, Any]:
    """Return a verification as ``--json`` prints it."""
    facts = [
        {**row.fact.model_dump(), "measured": row.measured if row.recomputed else None, "ok": row.ok}
        for row in result.rows
    ]
    return {
        "id": result.id,
        "verdict": result.verdict,
        "ok": result.ok,
        "recorded_with": result.recorded,
        "versions": result.versions,
        "facts": facts,
    }


def _compare(arguments: Namespace) -> int:
    names = choose(arguments.id, arguments.all, memzoo.list_models())
    differences = _find_differences(names, stop_at_error=not arguments.all)
    found = [(name, difference) for name, own in differences.items() for difference in own]
    if arguments.all:
        found += [("", difference) for difference in _find_extra_repositories(differences)]
    if arguments.json:
        print(json.dumps([{"id": name, "kind": d.kind, "what": d.what} for name, d in found], indent=2))
    else:
        for _, difference in found:
            print(difference)
        same = sum(not own for own in differences.values())
        print(f"{same} of {len(names)} are the same in the registry and on the Hub.")
    broken = len(differences) < len(names)
    return 1 if broken or any(difference.fails for _, difference in found) else 0


def _find_differences(names: list[str], *, stop_at_error: bool) -> "dict[str, tuple[Difference, ...]]":
    """Compare each checkpoint with the Hub; report those whose entry is broken, and leave them out."""
    from memzoo.zoo import compare_with_hub  # imports torch

    differences: dict[str, tuple[Difference, ...]] = {}
    for name in names:
        try:
            differences[name] = compare_with_hub(name)
        except RegistryError as error:  # one broken entry does not hide the others
            if stop_at_error:
                raise
            _print_failed(name, error)
    return differences


def _find_extra_repositories(names: Iterable[str]) -> "list[Difference]":
    """Find the repositories that no entry names, of the users and organisations that publish these checkpoints."""
    from memzoo.zoo import extra_repositories

    hubs = [entry.hub for entry in map(memzoo.info, names) if entry.hub is not None]
    return list(extra_repositories({hub.repository.split("/")[0] for hub in hubs}))
