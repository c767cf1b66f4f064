"""The command line: parse arguments, call the rest.

Exit status: 0 when it did what was asked, 1 when a check failed or something was missing, 2 for wrong usage.
"""

import argparse
import json
import sys
from pathlib import Path

import memzoo
from memzoo.errors import MemzooError


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (MemzooError, OSError) as error:
        print(f"memzoo: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memzoo", description="Memorization in overparameterized autoencoders: a zoo of trained networks."
    )
    parser.add_argument("--version", action="version", version=memzoo.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    listing = command("list", _list, "List the checkpoints.")
    listing.add_argument("pattern", nargs="?", default="*", help="as in a shell, e.g. 'cifar10-*'")
    listing.add_argument("--json", action="store_true", help="entries as JSON")

    about = command("info", _info, "Show the entry of a checkpoint: recipe, facts, hashes, rights.")
    about.add_argument("id")
    about.add_argument("--json", action="store_true", help="as JSON instead of YAML")

    training = command("train", _train, "Train a checkpoint, or all of a figure, from the recipe.")
    training.add_argument("id", help="a checkpoint, or a figure or table such as table2: all of its checkpoints")
    training.add_argument("--out", type=Path, default=Path("runs"), help="folder that receives ID/ (default: runs)")
    training.add_argument("--seed", type=int, help="of the initial values (default: the recipe's)")
    training.add_argument("--data", type=Path, help="where the dataset lies (default: the checkpoint's own images)")
    training.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    training.add_argument("--record", type=Path, metavar="ROOT", help="then put it into the source tree at ROOT")

    checking = command("verify", _verify, "Recompute every fact of a checkpoint from its files.")
    checking.add_argument("id", nargs="?")
    checking.add_argument("--all", action="store_true", help="every checkpoint")
    checking.add_argument("--json", action="store_true", help="as JSON")

    figure = command("reproduce", _reproduce, "Reproduce a figure or table of the paper from its checkpoints.")
    figure.add_argument("figure", nargs="?", help="fig3b, fig7, table1 or table2")
    figure.add_argument("--all", action="store_true", help="every figure")
    figure.add_argument("--out", type=Path, default=Path("reproduced"), help="folder for PNG and JSON")
    figure.add_argument(
        "--checkpoint", help="another checkpoint of the same kind, e.g. local-dir:runs/mnist20-fc14x128"
    )
    return parser


def _list(arguments: argparse.Namespace) -> int:
    entries = [memzoo.info(name) for name in memzoo.list_models(arguments.pattern)]
    if arguments.json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return 0
    width = max((len(entry.id) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.id:<{width}}  {entry.title}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from memzoo.zoo.training import entry_yaml

    entry = memzoo.info(arguments.id)
    print(json.dumps(entry.model_dump(mode="json"), indent=2) if arguments.json else entry_yaml(entry), end="")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from memzoo.zoo import checkpoints_of, record, train

    ids, status = checkpoints_of(arguments.id), 0
    for id in ids:
        if len(ids) > 1 and (arguments.out / id).exists() and not arguments.overwrite:
            print(f"{arguments.out / id} is there already, and is kept; --overwrite trains it again.")
            continue
        folder, rows = train(
            id, arguments.out, seed=arguments.seed, data_root=arguments.data, overwrite=arguments.overwrite
        )
        print(f"wrote {folder}; load it with memzoo.load('local-dir:{folder}')")
        for row in rows:
            print(f"  {row}", flush=True)
        reached = all(row.holds for row in rows)
        status = max(status, 0 if reached else 1)
        if arguments.record is not None and not reached:
            print(f"memzoo: {id} is not recorded, a required bound is not met.", file=sys.stderr)
        elif arguments.record is not None:
            record(folder, arguments.record)
            print(f"recorded {id} in {arguments.record / 'checkpoints.yaml'}")
    return status


def _chosen(one: str | None, everything: bool, names: list[str]) -> list[str]:
    if (one is None) != everything:
        print("memzoo: give one name, or --all; see --help.", file=sys.stderr)
        raise SystemExit(2)
    return names if everything else [one or ""]


def _verify(arguments: argparse.Namespace) -> int:
    results, broken = [], False
    for name in _chosen(arguments.id, arguments.all, memzoo.list_models()):
        try:
            results.append(memzoo.verify(name))
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
                "ok": result.ok,
                "facts": [{**row.fact.model_dump(), "measured": row.measured, "ok": row.ok} for row in result.rows],
            }
            for result in results
        ]
        print(json.dumps(content, indent=2))
    return 1 if broken or not all(result.ok for result in results) else 0


def _reproduce(arguments: argparse.Namespace) -> int:
    from memzoo.figures import FIGURES, reproduce

    for name in _chosen(arguments.figure, arguments.all, list(FIGURES)):
        result = reproduce(name, arguments.out, checkpoint=arguments.checkpoint)
        print(f"{result}\n  -> {arguments.out / name}.png, {arguments.out / name}.json", flush=True)
    return 0  # a claim that falls short is an answer, in the table and in the JSON


if __name__ == "__main__":
    sys.exit(main())
