"""Measure what is known by other means, and count what memzoo gets wrong: ``python -m tools.oracles maps``.

``maps`` draws maps of known spectrum, ``networks`` draws small networks that an independent program certifies too, and
``modules`` takes modules that were not written for memzoo. ``trainings`` trains small modules with callbacks and
without, which must not differ in a bit. ``kills`` kills trainings, downloads and what else writes files, and lets them
go on. ``faults`` damages files that memzoo reads and writes. The numbers that are known come from how a case was built,
or from numpy in float64, and never from memzoo. Only the folder ``.oracles`` is written. A run that was stopped
continues where it stopped. The exit status is 1 if anything was wrong.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the matrices are small, and two processes may run side by side

import torch

from tools.oracles.fault_checks import draw_fault_cases
from tools.oracles.kill_checks import draw_kill_cases
from tools.oracles.map_checks import draw_map_cases
from tools.oracles.module_checks import list_module_cases
from tools.oracles.network_checks import draw_network_cases
from tools.oracles.outcomes import FAULTS, Outcome, Part
from tools.oracles.results import Results, format_table, select_faults
from tools.oracles.training_checks import draw_training_cases

ROOT = Path(__file__).resolve().parents[2]
PARTS: dict[str, Part] = {
    "maps": draw_map_cases,
    "networks": draw_network_cases,
    "modules": list_module_cases,
    "trainings": draw_training_cases,
    "kills": draw_kill_cases,
    "faults": draw_fault_cases,
}
COUNTS = {"maps": 2000, "networks": 500, "modules": 1000, "trainings": 200, "kills": 50, "faults": 2048}
"""How many cases are drawn; of the modules, all that there are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the cases without a result, print all, and return the exit status."""
    options = _build_parser().parse_args(arguments)
    torch.set_num_threads(1)
    count = options.count or COUNTS[options.part]
    results = Results(ROOT, options.part)
    outcomes: list[Outcome] = []
    for number, (name, measure) in enumerate(PARTS[options.part](options.seed, count)):
        if options.only not in name:
            continue
        if name not in results.known or options.only:
            results.add(name, measure())
        found = results.known[name]
        outcomes += found
        _print_case(number, name, found, whole=bool(options.only))
    print(format_table(outcomes))
    faults = select_faults(outcomes)
    print(f"{len(faults)} of {len(outcomes)} measurements are at fault.")
    return 1 if faults else 0


def _print_case(number: int, name: str, outcomes: Sequence[Outcome], *, whole: bool) -> None:
    """Print what is wrong in a case, or all of it; say now and then how far the run has come."""
    for outcome in outcomes:
        if whole or outcome.word in FAULTS or outcome.word == "missed":
            print(f"{outcome.word.upper():<9} {name}  {outcome.measure}: {outcome.detail}", flush=True)
    if number and number % 100 == 0:
        print(f"... {number} cases", file=sys.stderr, flush=True)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.oracles", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=PARTS, help="what to measure")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample (default: 1)")
    parser.add_argument("--count", type=int, help=f"number of cases (default: {COUNTS})")
    parser.add_argument("--only", metavar="NAME", default="", help="measure only the cases of this name, once more")
    return parser


if __name__ == "__main__":
    sys.exit(main())
