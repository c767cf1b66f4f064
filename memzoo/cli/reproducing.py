"""``memzoo reproduce``: the figures and tables of the paper from their checkpoints."""

import sys
from pathlib import Path

from jsonargparse import Namespace
from tqdm import tqdm

from memzoo.cli.choice import check_choice
from memzoo.cli.command import Command, CommandParser
from memzoo.errors import UsageError


def reproduce_command() -> Command:
    """Describe ``memzoo reproduce``."""
    text = "Reproduce a figure or table of the paper from its checkpoints."
    parser = CommandParser(description=text)
    parser.add_argument(
        "figure", nargs="?", type=str, help="fig1a to fig12, table1, table2, and others beyond the paper: --list"
    )
    parser.add_argument("--all", action="store_true", help="every figure, and a page that shows them")
    parser.add_argument("--list", action="store_true", help="name them all, and make none")
    parser.add_argument("--out", type=Path, default=Path("reproduced"), help="folder for PNG, PDF, JSON and the page")
    parser.add_argument(
        "--checkpoint", type=str, help="another checkpoint of the same kind, e.g. local-dir:runs/mnist20-fc14x128"
    )
    return Command("reproduce", text, parser, _reproduce)


def _reproduce(arguments: Namespace) -> int:
    if not arguments.list:
        check_choice(arguments.figure, arguments.all)
    elif arguments.figure is not None or arguments.all:
        raise UsageError("--list names all figures, and takes neither a name nor --all.")
    if arguments.all and arguments.checkpoint is not None:
        raise UsageError("--checkpoint goes with the name of one figure, not with --all.")
    if arguments.list:
        return _list_figures()
    return _reproduce_all(arguments.out) if arguments.all else _reproduce_one(arguments)


def _list_figures() -> int:
    from memzoo.figures import FIGURES  # imports torch

    for name, figure in FIGURES.items():
        print(f"{name:<14} {figure.title}")
    return 0


def _reproduce_one(arguments: Namespace) -> int:
    from memzoo.figures import reproduce  # imports torch

    result = reproduce(arguments.figure, arguments.out, checkpoint=arguments.checkpoint)
    print(f"{result}\n  -> {arguments.out / arguments.figure}.png, .pdf and .json", flush=True)
    return 0  # a claim that falls short is an answer, in the table and in the JSON


def _reproduce_all(out: Path) -> int:
    from memzoo.figures import FIGURES, reproduce_all, write_report  # imports torch

    names = list(FIGURES)
    results = []
    with tqdm(total=len(names), unit="figure", file=sys.stderr, disable=None) as bar:
        for result in reproduce_all(out, names, begins=bar.set_description):
            results.append(result)
            bar.update()
            bar.write(str(result), file=sys.stdout)
    print(f"-> {write_report(results, out)}", flush=True)
    failed = [result.figure for result in results if result.failed]
    if failed:
        print(f"memzoo: {', '.join(failed)} could not be made; the page says why.", file=sys.stderr)
    return 1 if failed else 0  # a claim that falls short is an answer
