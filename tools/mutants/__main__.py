"""Measure how many small mistakes in memzoo the tests notice: ``python -m tools.mutants --seed 1 --count 150``.

Only the folder ``.mutants`` is written: a mutant exists in the memory of one process alone. A run that was stopped
continues where it stopped; a result for other sources or other tests is not used again.
"""

import argparse
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.mutants import session
from tools.mutants.reach import Reach, compute_digest
from tools.mutants.trials import FOLDERS, SECONDS, Mutant, Tests, Verdict, list_mutants, try_all

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".mutants"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw mutants, try those without a result, and print the share that was killed."""
    options = _build_parser().parse_args(arguments)
    drawn = _draw_mutants(options)
    if options.list:
        print(*drawn, sep="\n")
        return

    session.prepare()
    reach = Reach(ROOT, KEPT / "tests.json")
    tests = Tests(ROOT, reach)
    results = _Results(ROOT, options.seconds)
    _try_missing(drawn, "own", tests.list_own, tests, results, options.jobs)
    alive = results.select("own", drawn, killed=False)
    broken = results.select("own", drawn, error=True)
    if options.others:
        _try_missing(alive, "others", tests.list_others, tests, results, options.jobs)
        broken += results.select("others", alive, error=True)
        alive = results.select("others", alive, killed=False)
    for mutant in broken:
        print("error   ", mutant)
    if broken:
        print(f"{len(broken)} mutants ended their process and are not counted; look at each.")
    _print_summary([mutant for mutant in drawn if mutant not in broken], alive)


def _draw_mutants(options: argparse.Namespace) -> list[Mutant]:
    """Draw a sample of all mutants, or select those of one file or line."""
    drawn = list_mutants(ROOT)
    if options.only:
        path, _, line = options.only.partition(":")
        return [mutant for mutant in drawn if mutant.path.endswith(path) and line in ("", str(mutant.site.line))]
    if options.count < len(drawn):
        return random.Random(options.seed).sample(drawn, options.count)
    return drawn


def _try_missing(
    drawn: Sequence[Mutant],
    stage: str,
    files_for: Callable[[str], list[str]],
    tests: Tests,
    results: "_Results",
    at_once: int,
) -> None:
    """Try the mutants that have no result of this stage, folder by folder."""
    missing = [mutant for mutant in drawn if (stage, mutant) not in results.rows]
    _print_line(f"{stage} tests: {len(drawn) - len(missing)} of {len(drawn)} mutants have a result")
    for folder in FOLDERS:
        some = [mutant for mutant in missing if mutant.folder == folder]
        files = {mutant: files_for(mutant.path) for mutant in some}
        needed = {file for names in files.values() for file in names}
        tests.reach.record(sorted(needed), at_once, _print_line)
        spent = {mutant: results.rows.get(("own", mutant), {"seconds": 0})["seconds"] for mutant in some}
        # chosen only when their turn comes: a choice holds the lines of all its tests
        plan = ((mutant, tests.choose(mutant, files[mutant]), results.limit - spent[mutant]) for mutant in some)
        for mutant, verdict in try_all(ROOT, plan, at_once):
            results.add(stage, mutant, verdict)
            word = "ERROR   " if verdict.error else "killed  " if verdict.killed else "SURVIVED"
            _print_line(f"{word} {verdict.seconds:4.0f} s  {mutant}  ({verdict.by})")


def _print_summary(drawn: Sequence[Mutant], alive: Sequence[Mutant]) -> None:
    """Print the survivors, and the share that was killed with Wilson's interval."""
    from memzoo.dynamics import wilson

    for mutant in alive:
        print("survived", mutant)
    if drawn:
        share = wilson(len(drawn) - len(alive), len(drawn))
        print(
            f"{len(drawn) - len(alive)} of {len(drawn)} mutants killed: {share.estimate:.1%}, "
            f"95 % interval {share.low:.1%} to {share.high:.1%}"
        )


class _Results:
    """Keep verdicts by stage and mutant, each in a line of JSON.

    A verdict holds only while memzoo is the same. That a test failed holds while the file of the test is the same; that
    none failed holds only while all tests are the same and no longer time is allowed.
    """

    def __init__(self, root: Path, limit: float) -> None:
        self.root = root
        self.file = KEPT / "results.jsonl"
        self.limit = limit
        self.memzoo = _digest_files(root, sorted((root / "memzoo").rglob("*.py")))
        files = sorted((root / "tests").rglob("*.py"))
        self.tests = _digest_files(root, [file for file in files if "tools" not in file.parts])
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        rows = [row for row in map(json.loads, lines) if self._holds(row)]
        known = {(mutant.path, mutant.number): mutant for mutant in list_mutants(root)} if rows else {}
        self.rows = {(row["stage"], known[row["path"], row["number"]]): row for row in rows}

    def _holds(self, row: dict[str, Any]) -> bool:
        """Tell whether a row of an earlier run is still true."""
        long_enough = row["killed"] or row["limit"] >= self.limit
        same_tests = row["tests"] == self._digest_tests(row["killed"], row["by"])
        return row["memzoo"] == self.memzoo and same_tests and long_enough

    def _digest_tests(self, killed: bool, by: str) -> str:
        """Compute the digest of the tests on which a verdict rests."""
        file = by.removeprefix("collection of ").split("::")[0]
        return compute_digest(self.root, file) if killed and file.endswith(".py") else self.tests

    def select(self, stage: str, drawn: Sequence[Mutant], *, killed: bool = False, error: bool = False) -> list[Mutant]:
        """Select the mutants that have this verdict."""
        rows = {mutant: self.rows[stage, mutant] for mutant in drawn}
        return [
            mutant
            for mutant, row in rows.items()
            if (row["killed"], row.get("error", False)) == (killed, error)  # rows of an older tool have no errors
        ]

    def add(self, stage: str, mutant: Mutant, verdict: Verdict) -> None:
        """Add a verdict, and write it to the file."""
        row = {"stage": stage, "path": mutant.path, "number": mutant.number, "text": str(mutant), **asdict(verdict)}
        row |= {"limit": self.limit, "memzoo": self.memzoo, "tests": self._digest_tests(verdict.killed, verdict.by)}
        self.rows[stage, mutant] = row
        if verdict.error:
            return  # not written: the mutant is tried again in the next run
        self.file.parent.mkdir(exist_ok=True)
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _digest_files(root: Path, files: Sequence[Path]) -> str:
    """Compute one digest of the names and the contents of files."""
    paths = [str(file.relative_to(root)) for file in files]
    lines = [f"{path} {compute_digest(root, path)}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _print_line(text: str) -> None:
    print(text, flush=True)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample (default: 1)")
    parser.add_argument("--count", type=int, default=150, help="number of mutants in the sample (default: 150)")
    parser.add_argument("--jobs", type=int, default=2, help="how many mutants are tried at one time (default: 2)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"CPU time for a mutant (default: {SECONDS})")
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
