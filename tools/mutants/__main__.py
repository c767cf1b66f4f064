"""Measure how many small mistakes in memzoo the tests notice: ``python -m tools.mutants --seed 1 --count 150``.

Nothing is written but the folder ``.mutants``: a mutant exists in the memory of one process alone. A run that was
stopped goes on where it stopped; what was found for other sources or other tests is not used again.
"""
# ruff: noqa: T201 - a command prints

import argparse
import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.mutants import session
from tools.mutants.reach import Reach, digest
from tools.mutants.trials import Mutant, Tests, Verdict, as_row, mutants, try_all

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".mutants"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw mutants, try those without a result, and print the share that was killed."""
    options = _parser().parse_args(arguments)
    drawn = mutants(ROOT)
    if options.only:
        path, _, line = options.only.partition(":")
        drawn = [mutant for mutant in drawn if mutant.path.endswith(path) and line in ("", str(mutant.site.line))]
    elif options.count < len(drawn):
        drawn = random.Random(options.seed).sample(drawn, options.count)
    if options.list:
        print(*drawn, sep="\n")
        return

    session.prepare()
    reach = Reach(ROOT, KEPT / "tests.json")
    tests = Tests(ROOT, reach)
    files = {file for mutant in drawn for file in tests.own(mutant.path)}
    if options.others:
        files |= {file for mutant in drawn for file in tests.others(mutant.path)}
    reach.record(sorted(files), options.jobs, _note)

    results = _Results(ROOT, tests)
    found = {mutant: row for mutant in drawn if (row := results.of(mutant)) is not None}
    missing = [mutant for mutant in drawn if mutant not in found]
    _note(f"{len(found)} of {len(drawn)} mutants have a result")
    for mutant, verdict in try_all(ROOT, tests, missing, options.jobs):
        found[mutant] = results.add(mutant, verdict)
        word = "killed  " if verdict.killed else "SURVIVED"
        _note(f"{len(found)}/{len(drawn)} {word} {verdict.seconds:4.0f} s  {mutant}  ({verdict.by})")
    _print_summary(drawn, found)


def _print_summary(drawn: Sequence[Mutant], found: dict[Mutant, dict[str, Any]]) -> None:
    from memzoo.dynamics import wilson

    survivors = [mutant for mutant in drawn if not found[mutant]["killed"]]
    for mutant in survivors:
        print("survived", mutant)
    if drawn:
        share = wilson(len(drawn) - len(survivors), len(drawn))
        print(
            f"{len(drawn) - len(survivors)} of {len(drawn)} mutants killed: {share.estimate:.1%}, "
            f"95 % interval {share.low:.1%} to {share.high:.1%}"
        )


class _Results:
    """Verdicts by mutant, one JSON line each.

    A verdict holds for the same memzoo only; that no test failed for the same tests only, that one failed for as long as
    its file is the same.
    """

    def __init__(self, root: Path, tests: Tests) -> None:
        self.root, self.file = root, KEPT / "results.jsonl"
        self.memzoo = _digest_of(root, sorted((root / "memzoo").rglob("*.py")))
        self.tests = _digest_of(root, sorted((root / "tests").rglob("*.py")))
        rows = map(json.loads, self.file.read_text().splitlines()) if self.file.exists() else []
        self.rows = {(row["path"], row["number"]): row for row in rows if self._holds(row)}

    def _holds(self, row: dict[str, Any]) -> bool:
        if row["memzoo"] != self.memzoo:
            return False
        file = row["by"].split("::")[0]
        own = digest(self.root, file) if file.endswith(".py") else self.tests
        return row["tests"] == (own if row["killed"] else self.tests)

    def of(self, mutant: Mutant) -> dict[str, Any] | None:
        return self.rows.get((mutant.path, mutant.number))

    def add(self, mutant: Mutant, verdict: Verdict) -> dict[str, Any]:
        file = verdict.by.split("::")[0]
        own = digest(self.root, file) if verdict.killed and file.endswith(".py") else self.tests
        row = {**as_row(mutant, verdict), "memzoo": self.memzoo, "tests": own}
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row


def _digest_of(root: Path, files: Sequence[Path]) -> str:
    lines = [f"{file.relative_to(root)} {digest(root, str(file.relative_to(root)))}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _note(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: 1)")
    parser.add_argument("--count", type=int, default=150, help="mutants in the sample (default: 150)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at one time (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the sample and stop")
    parser.add_argument("--only", metavar="FILE[:LINE]", help="all mutants of a file or a line in place of a sample")
    parser.add_argument(
        "--others",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also run the tests of the folders that import the mutated one (default: yes)",
    )
    return parser


if __name__ == "__main__":
    main()
