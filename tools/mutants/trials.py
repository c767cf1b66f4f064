"""Choose the tests that could notice a mutant, run them until one fails, and judge.

A mutant is killed by a test that fails, or by tests that together take more than three times their CPU time without it,
and 10 CPU seconds more: short times cannot be told apart on a machine that is shared. A process that dies of anything
else, such as want of memory, is an error that has no verdict.
"""

import ast
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tools.mutants import children, session
from tools.mutants.reach import Reach, Test, has_doctest
from tools.mutants.serving import serve
from tools.mutants.sites import Site, sites

FOLDERS = ("dynamics", "metrics", "zoo", "callbacks")  # the quick ones first
ZOO = ("loading", "fingerprint", "files", "sources")  # what loading consists of
SECONDS = 120  # in all for a mutant, of CPU time: what else the machine does has no part in a verdict
PATIENCE = 5  # wall time for each of these seconds, for a mutant that waits for what never comes
SLOWER = 3  # times the CPU time without the mutant counts as killed
FLOOR = 10  # CPU seconds allowed in any case: a machine that is shared measures short times badly


@dataclass(frozen=True)
class Mutant:
    """One module with one mistake in it."""

    path: str
    number: int
    """Of the mistake among all of its module."""
    site: Site

    def __str__(self) -> str:
        return f"{self.path}:{self.site.line}  {self.site.kind}: {self.site.change}"


def mutants(root: Path) -> list[Mutant]:
    """All mutants of the modules whose tests are judged."""
    found = []
    for folder in FOLDERS:
        for file in sorted((root / "memzoo" / folder).glob("*.py")):
            if folder != "zoo" or file.stem in ZOO:
                path = str(file.relative_to(root))
                found += [Mutant(path, number, site) for number, site in enumerate(sites(ast.parse(file.read_text())))]
    return found


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    killed: bool
    by: str
    """The test that failed, or why it counts as killed; for a survivor, how many tests ran."""
    seconds: float
    """CPU time."""
    error: bool = False
    """The process died, by which nothing is shown: the mutant is neither killed nor alive."""


class Tests:
    """The files of tests of a project, and which of them are for which folder of memzoo."""

    def __init__(self, root: Path, reach: Reach) -> None:
        self.root = root
        self.reach = reach
        self.files = sorted(str(file.relative_to(root)) for file in (root / "tests").rglob("test_*.py"))
        self.files = [file for file in self.files if not file.startswith("tests/tools/")]
        self.text = {file: (root / file).read_text() for file in self.files}
        self.imports = {folder: self._imported(root / "memzoo" / folder) for folder in self._folders()}

    def _folders(self) -> list[str]:
        return sorted(path.name for path in (self.root / "memzoo").iterdir() if (path / "__init__.py").exists())

    @staticmethod
    def _imported(folder: Path) -> set[str]:
        """Folders of memzoo that a folder imports."""
        text = "\n".join(file.read_text() for file in folder.glob("*.py"))
        return {
            line.split()[1].split(".")[1]
            for line in map(str.strip, text.splitlines())
            if line.startswith(("from memzoo.", "import memzoo."))
        }

    def own(self, path: str) -> list[str]:
        """The tests of a module's own folder, and the examples in its docstrings."""
        folder = Path(path).parent.name
        examples = [path] if has_doctest(self.root / path) else []
        return examples + [file for file in self.files if file.startswith(f"tests/{folder}/")]

    def others(self, path: str) -> list[str]:
        """The tests of what imports the module's folder: of other folders, and files that import it themselves."""
        folder = Path(path).parent.name
        own = set(self.own(path))
        users = {name for name, imported in self.imports.items() if folder in imported} - {folder}
        return [
            file
            for file in self.files
            if file not in own and (Path(file).parent.name in users or f"memzoo.{folder}" in self.text[file])
        ]

    def chosen(self, mutant: Mutant, files: Sequence[str]) -> dict[str, Test]:
        """The tests that could notice a mutant, those first that are likely to, and the cheap ones before the others.

        A test that does not execute the statement cannot; a mistake in what runs on import may be noticed by any.
        What a test does in processes of its own is not known, so these are taken as well, at the end.
        """
        module = Path(mutant.path).stem
        names = [module, *_defined(self.root / mutant.path)]
        ranked = []
        for file in files:
            text = self.text.get(file, "")
            doubt = 1.0 if file == mutant.path or Path(file).stem == f"test_{module}" else 2.0
            doubt *= 1.0 if doubt == 1 or any(name in text for name in names) else 2.0
            cases: Counter[str] = Counter()
            known = self.reach.tests(file)
            for name in sorted(known, key=lambda name: known[name].seconds):
                test = known[name]
                function = name.split("[")[0]
                lines = test.lines.get(mutant.path, [])
                reached = mutant.site.reached_by
                hit = bool(lines) if reached is None else any(reached[0] <= line <= reached[1] for line in lines)
                if hit or test.spawns or reached is None:
                    cases[function] += 1  # another case of the same test rarely tells more
                    ranked.append((test.spawns, not hit, doubt * cases[function] * test.seconds, name, test))
        ranked.sort(key=lambda row: row[:-1])
        return {row[-2]: row[-1] for row in ranked}


def _defined(file: Path) -> list[str]:
    """Public names that a module defines."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]


def _try(root: Path, mutant: Mutant, tests: dict[str, Test], left: float, tell: Callable[[Any], None]) -> None:
    """In a process of its own: import memzoo with the mutant, and run the tests until one fails."""
    started = time.process_time()
    serve(root, mutant.path, mutant.number)
    chooser = session.Chooser(list(tests))
    slow = FLOOR + SLOWER * sum(test.seconds for test in tests.values())
    tell(["three times as long" if slow < left else "survived"])
    session.limit_cpu(min(slow, left))
    files = list(dict.fromkeys(name.split("::")[0] for name in tests))
    status = session.run(root, files, [chooser], "-x")
    if chooser.failed or status not in (0, 5):
        tell(["killed", chooser.failed or f"pytest ended with status {status}", time.process_time() - started])
    else:
        tell(["survived", len(tests), time.process_time() - started])


def try_all(
    root: Path, plan: Iterable[tuple[Mutant, dict[str, Test], float]], at_once: int
) -> Iterator[tuple[Mutant, Verdict]]:
    """Yield the mutants with their verdicts, each when it is known.

    Args:
        root: Of the project.
        plan: Mutants, the tests that could notice each, and the CPU seconds left for it.
        at_once: Mutants at one time.
    """

    def jobs() -> Iterator[children.Job]:
        for mutant, tests, seconds in plan:
            yield (mutant, seconds), partial(_try, root, mutant, tests, seconds), PATIENCE * seconds

    for ended in children.run_all(jobs(), at_once):
        mutant, left = ended.key
        if not ended.told:
            raise RuntimeError(f"{mutant} could not be tried:\n{ended.log}")
        word, *more = ended.told[-1]
        complete = bool(more)
        if ended.how == "died" and not complete:
            last = ended.log.strip().splitlines()[-1:]
            verdict = Verdict(False, f"the process died: {' '.join(last) or 'it printed nothing'}", 0.0, error=True)
        elif word == "killed":
            verdict = Verdict(True, more[0], more[1])
        elif word == "survived" and complete:
            verdict = Verdict(False, f"{more[0]} tests pass", more[1])
        elif word == "survived" or ended.how == "late":
            verdict = Verdict(False, "alive when the time was over", left)
        else:
            verdict = Verdict(True, word, 0.0)
        yield mutant, verdict
