"""``memzoo verify``: every fact recomputed; registry and Hub compared."""

import json
import sys
from pathlib import Path

from jsonargparse import Namespace

import memzoo
from memzoo.cli.choice import choose, choose_available
from memzoo.cli.command import Command, CommandParser
from memzoo.errors import MemzooError


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
    results, broken = [], False
    for name in choose_available(arguments.id, arguments.all):
        try:
            results.append(memzoo.verify(name, data_root=arguments.data))
        except MemzooError as error:  # one damaged checkpoint does not hide the others
            if not arguments.all:
                raise
            print(f"{name}: FAILED\n  {error}", file=sys.stderr, flush=True)
            broken = True
            continue
        if not arguments.json:
            print(results[-1], flush=True)
    if arguments.json:
        content = [
            {
                "id": result.id,
                "verdict": result.verdict,
                "ok": result.ok,
                "recorded_with": result.recorded,
                "versions": result.versions,
                "facts": [
                    {
                        **row.fact.model_dump(),
                        "measured": row.measured if row.recomputed else None,
                        "ok": row.ok,
                    }
                    for row in result.rows
                ],
            }
            for result in results
        ]
        print(json.dumps(content, indent=2))
    return 1 if broken or not all(result.ok for result in results) else 0


def _compare(arguments: Namespace) -> int:
    from memzoo.zoo import compare_with_hub, extra_repositories

    differences = {name: compare_with_hub(name) for name in choose(arguments.id, arguments.all, memzoo.list_models())}
    found = [(name, difference) for name, own in differences.items() for difference in own]
    if arguments.all:
        hubs = [entry.hub for entry in map(memzoo.info, differences) if entry.hub is not None]
        spaces = {hub.repository.split("/")[0] for hub in hubs}
        found += [("", difference) for difference in extra_repositories(spaces)]
    if arguments.json:
        print(json.dumps([{"id": name, "kind": d.kind, "what": d.what} for name, d in found], indent=2))
    else:
        for _, difference in found:
            print(difference)
        same = sum(not own for own in differences.values())
        print(f"{same} of {len(differences)} are the same in the registry and on the Hub.")
    return 1 if any(difference.fails for _, difference in found) else 0
