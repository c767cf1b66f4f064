"""Choose the tests that could notice a mutant, run them until one fails, and judge.

A mutant is killed by a test that fails, or by tests that together take more than three times their CPU time without it,
and 10 CPU seconds more, since short times vary on a machine that is shared. A process that dies of anything else, such
as want of memory, is an error that has no verdict.
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
from tools.mutants.sites import Site, find_sites

FOLDERS = ("dynamics", "metrics", "zoo", "callbacks")  # the quick ones first
ZOO = {
    "zoo/hub/sources.py",
    "zoo/loading/building.py",
    "zoo/loading/fingerprint.py",
    "zoo/loading/loader.py",
    "zoo/loading/locating.py",
    "zoo/registry/files.py",
}
"""Files of the zoo whose mutants are drawn: those that loading a checkpoint consists of."""
SECONDS = 120  # CPU time for all tests of a mutant: what else the machine does has no part in a verdict
PATIENCE = 5  # wall time for each of these seconds, for a mutant that waits for ever
SLOWER = 3  # a mutant under which the tests need more than 3 times their CPU time counts as killed
FLOOR = 10  # CPU seconds allowed in any case: a machine that is shared measures short times badly


@dataclass(frozen=True)
class Mutant:
    """Describe one module with one mistake in it."""

    path: str
    number: int
    """Position of the mistake among all that could be made in the module."""
    site: Site

    @property
    def folder(self) -> str:
        """Return the folder of memzoo that holds the module."""
        return name_folder(self.path)

    def __str__(self) -> str:
        return f"{self.path}:{self.site.line}  {self.site.kind}: {self.site.change}"


def name_folder(path: str) -> str:
    """Name the folder of memzoo or of tests that holds a file, in itself or in a folder of its own."""
    return Path(path).parts[1]


def list_mutants(root: Path) -> list[Mutant]:
    """List all mutants of the modules whose tests are judged."""
    found = []
    for folder in FOLDERS:
        for file in sorted((root / "memzoo" / folder).rglob("*.py")):
            if folder == "zoo" and str(file.relative_to(root / "memzoo")) not in ZOO:
                continue
            path = str(file.relative_to(root))
            sites = find_sites(ast.parse(file.read_text()))
            found += [Mutant(path, number, site) for number, site in enumerate(sites)]
    return found


@dataclass(frozen=True)
class Verdict:
    """Say what became of a mutant."""

    killed: bool
    by: str
    """The test that failed, or why the mutant counts as killed; for a survivor, how many tests ran."""
    seconds: float
    """CPU time."""
    error: bool = False
    """Whether the process died, which shows nothing: the mutant is neither killed nor alive."""


class Tests:
    """Hold the files of tests of a project, and find those that belong to a folder of memzoo."""

    def __init__(self, root: Path, reach: Reach) -> None:
        self.root = root
        self.reach = reach
        files = sorted(str(file.relative_to(root)) for file in (root / "tests").rglob("test_*.py"))
        self.files = [file for file in files if not file.startswith("tests/tools/")]
        self.text = {file: (root / file).read_text() for file in self.files}
        self.imports = {folder: self._find_imports(root / "memzoo" / folder) for folder in self._list_folders()}

    def _list_folders(self) -> list[str]:
        return sorted(path.name for path in (self.root / "memzoo").iterdir() if (path / "__init__.py").exists())

    @staticmethod
    def _find_imports(folder: Path) -> set[str]:
        """Find the folders of memzoo that a folder imports."""
        lines = [line.strip() for file in folder.rglob("*.py") for line in file.read_text().splitlines()]
        imports = [line.split()[1] for line in lines if line.startswith(("from memzoo.", "import memzoo."))]
        return {module.split(".")[1] for module in imports}

    def list_own(self, path: str) -> list[str]:
        """List the tests of a module's own folder, and the module itself if its docstrings have examples."""
        examples = [path] if has_doctest(self.root / path) else []
        return examples + [file for file in self.files if file.startswith(f"tests/{name_folder(path)}/")]

    def list_others(self, path: str) -> list[str]:
        """List the tests of folders that import the module's folder, and tests that import it themselves."""
        folder = name_folder(path)
        own = set(self.list_own(path))
        users = {name for name, imported in self.imports.items() if folder in imported} - {folder}
        return [
            file
            for file in self.files
            if file not in own and (name_folder(file) in users or f"memzoo.{folder}" in self.text[file])
        ]

    def choose(self, mutant: Mutant, files: Sequence[str]) -> dict[str, Test]:
        """Choose the tests that could notice a mutant: likely ones before others, and among these cheap ones first.

        A test that does not execute the statement cannot notice it; a mistake in what runs on import may be noticed by
        any. What a test does in processes of its own is not known, so these tests are chosen too, and come last.
        """
        names = [Path(mutant.path).stem, *_list_names(self.root / mutant.path)]
        ranked = []
        for file in files:
            doubt = self._estimate_doubt(mutant, file, names)
            cases: Counter[str] = Counter()
            known = self.reach.list_tests(file)
            for name in sorted(known, key=lambda name: known[name].seconds):
                test = known[name]
                hit = _executes(test, mutant)
                if hit or test.spawns or mutant.site.reached_by is None:
                    function = name.split("[")[0]
                    cases[function] += 1  # another case of the same test rarely tells more
                    price = doubt * cases[function] * test.seconds
                    ranked.append((test.spawns, not hit, price, name, test))
        ranked.sort(key=lambda row: row[:-1])
        return {name: test for *_, name, test in ranked}

    def _estimate_doubt(self, mutant: Mutant, file: str, names: Sequence[str]) -> float:
        """Estimate how unlikely the tests of a file are to notice a mutant: 1, 2 or 4.

        The tests of the module itself are the likeliest, then those that speak of its names.
        """
        if file == mutant.path or Path(file).stem == f"test_{Path(mutant.path).stem}":
            return 1.0
        text = self.text.get(file, "")
        return 2.0 if any(name in text for name in names) else 4.0


def _executes(test: Test, mutant: Mutant) -> bool:
    """Tell whether a test executes the statement that holds the mistake; of one that runs on import, the module."""
    lines = test.lines.get(mutant.path, [])
    if mutant.site.reached_by is None:
        return bool(lines)
    first, last = mutant.site.reached_by
    return any(first <= line <= last for line in lines)


def _list_names(file: Path) -> list[str]:
    """List the public names that a module defines."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    definitions = [node for node in ast.parse(file.read_text()).body if isinstance(node, kinds)]
    return [node.name for node in definitions if not node.name.startswith("_")]


def _try(root: Path, mutant: Mutant, tests: dict[str, Test], left: float, tell: Callable[[Any], None]) -> None:
    """Import memzoo with the mutant, in a process of its own, and run the tests until one fails."""
    started = time.process_time()
    serve(root, mutant.path, mutant.number)
    chooser = session.Chooser(list(tests))
    slow = FLOOR + SLOWER * sum(test.seconds for test in tests.values())
    # the verdict in case that the limit of CPU time ends this process
    tell(["three times as long" if slow < left else "survived"])
    session.limit_cpu(min(slow, left))
    files = list(dict.fromkeys(name.split("::")[0] for name in tests))
    status = session.run(root, files, [chooser], "-x")
    seconds = time.process_time() - started
    if chooser.failed or status not in (0, 5):  # 5: pytest has run no test
        tell(["killed", chooser.failed or f"pytest ended with status {status}", seconds])
    else:
        tell(["survived", len(tests), seconds])


def try_all(
    root: Path, plan: Iterable[tuple[Mutant, dict[str, Test], float]], at_once: int
) -> Iterator[tuple[Mutant, Verdict]]:
    """Try mutants, and yield each with its verdict as soon as it is known.

    Args:
        root: Folder of the project.
        plan: Mutants, the tests that could notice each, and the CPU seconds left for it.
        at_once: How many mutants are tried at one time.
    """
    jobs = (
        ((mutant, seconds), partial(_try, root, mutant, tests, seconds), PATIENCE * seconds)
        for mutant, tests, seconds in plan
    )
    for ended in children.run_all(jobs, at_once):
        mutant, left = ended.key
        if not ended.reports:
            raise RuntimeError(f"{mutant} could not be tried:\n{ended.log}")
        yield mutant, _judge(ended, left)


def _judge(ended: children.EndedJob, left: float) -> Verdict:
    """Judge a mutant by the last report of its process, which has one word if the process did not finish."""
    word, *more = ended.reports[-1]
    if more:
        by, seconds = more
        return Verdict(True, by, seconds) if word == "killed" else Verdict(False, f"{by} tests pass", seconds)
    if ended.how == "died":
        last = ended.log.strip().splitlines()[-1:]
        return Verdict(False, f"the process died: {' '.join(last) or 'it printed nothing'}", 0.0, error=True)
    if word == "survived" or ended.how == "late":
        return Verdict(False, "alive when the time was over", left)
    return Verdict(True, word, 0.0)
