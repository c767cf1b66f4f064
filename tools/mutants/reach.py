"""Record which lines of memzoo each test executes, how long it takes, and whether it starts processes."""

import ast
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

from tools.mutants import children, session

MOST_SECONDS = 900  # for the tests of one file


@dataclass
class Test:
    """Hold what is known of one test."""

    seconds: float
    """CPU time."""
    spawns: bool
    """Whether it started a process, whose lines are not known."""
    passed: bool
    lines: dict[str, list[int]] = field(default_factory=dict)
    """The lines that it executes in each file, those of its fixtures among them."""


class _Recorder:
    """Record for each test what it executes.

    Caches are emptied before each test, since a hit would hide the lines that computed the value.
    """

    def __init__(self, measuring: coverage.Coverage) -> None:
        self.measuring = measuring
        self.context = ""
        self.tests: dict[str, Test] = {}
        self.fixtures: dict[str, set[str]] = {}
        self.current: str | None = None
        sys.addaudithook(self._note_process)

    def _note_process(self, event: str, _: Any) -> None:
        if self.current is not None and event in {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec"}:
            self.tests[self.current].spawns = True

    def _switch(self, context: str) -> None:
        self.context = context
        self.measuring.switch_context(context)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        _empty_caches()
        test = self.tests[item.nodeid] = Test(0.0, spawns=False, passed=True)
        self.current = item.nodeid
        self.fixtures[item.nodeid] = {f"fixture {name}" for name in getattr(item, "fixturenames", ())}
        self._switch(item.nodeid)
        started = time.process_time()
        try:
            return (yield)
        finally:
            test.seconds = time.process_time() - started
            self.current = None
            self._switch("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        before = self.context
        name = f"fixture {fixturedef.argname}"
        if self.current is not None:  # item.fixturenames lacks those that request.getfixturevalue asks for
            self.fixtures[self.current].add(name)
        self._switch(name)
        try:
            return (yield)
        finally:
            self._switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests[report.nodeid].passed = False


def _empty_caches() -> None:
    """Empty the caches of all functions of memzoo and of the tests."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in {"memzoo", "tests"}:
            for value in list(vars(module).values()):
                if callable(getattr(type(value), "cache_clear", None)):
                    value.cache_clear()


def record(root: Path, file: str, tell: Callable[[Any], None]) -> None:
    """Run the tests of a file in this process, and tell what each of them executed."""
    measuring = coverage.Coverage(data_file=None, include=[f"{root}/memzoo/*"], config_file=False, messages=False)
    measuring.start()
    recorder = _Recorder(measuring)
    session.run(root, [file], [recorder])
    measuring.stop()
    executed = _list_executed(root, measuring.get_data())
    for name, test in recorder.tests.items():
        lines: dict[str, set[int]] = defaultdict(set)
        for context in {name} | recorder.fixtures[name]:
            for path, numbers in executed.get(context, {}).items():
                lines[path] |= set(numbers)
        tell({"test": name, **vars(test), "lines": {path: sorted(numbers) for path, numbers in lines.items()}})


def _list_executed(root: Path, data: coverage.CoverageData) -> dict[str, dict[str, list[int]]]:
    """List the lines of each file that were executed in each context, which is a test or a fixture."""
    executed: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for path in data.measured_files():
        relative = str(Path(path).relative_to(root))
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                executed[context][relative].append(line)
    return executed


class Reach:
    """Keep in a file what the tests reach.

    The tests of a file are run again when the file changes, or a module that they execute.
    """

    def __init__(self, root: Path, kept: Path) -> None:
        self.root = root
        self.kept = kept
        self.known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}

    def is_fresh(self, file: str) -> bool:
        """Tell whether the record of a file of tests still holds."""
        known = self.known.get(file)
        if known is None:
            return False
        return all(compute_digest(self.root, path) == old for path, old in known["digests"].items())

    def record(self, files: Iterable[str], at_once: int, note: Callable[[str], None]) -> None:
        """Run the tests of the files whose record does not hold."""
        missing = [file for file in files if not self.is_fresh(file)]

        def jobs() -> Iterator[children.Job]:
            for file in missing:
                yield file, lambda tell, file=file: record(self.root, file, tell), MOST_SECONDS

        for ended in children.run_all(jobs(), at_once):
            file = ended.key
            tests = ended.reports
            if ended.how != "done":
                raise RuntimeError(f"the tests of {file} {ended.how} after {ended.seconds:.0f} s:\n{ended.log}")
            around = [str(folder / "conftest.py") for folder in Path(file).parents]
            touched = {path for test in tests for path in test["lines"]} | {file, *around}
            digests = {path: compute_digest(self.root, path) for path in sorted(touched)}
            self.known[file] = {"digests": digests, "tests": tests}
            self.kept.parent.mkdir(exist_ok=True)
            aside = self.kept.with_suffix(".part")
            aside.write_text(json.dumps(self.known))
            aside.replace(self.kept)
            note(f"{file}: {len(tests)} tests, {sum(test['seconds'] for test in tests):.1f} s")
            for test in tests:
                if not test["passed"]:
                    note(f"{test['test']} fails without a mutant; it is left out")

    def list_tests(self, file: str) -> dict[str, Test]:
        """List the tests of a file that pass."""
        rows = [dict(row) for row in self.known[file]["tests"] if row["passed"]]
        return {row.pop("test"): Test(**row) for row in rows}


def compute_digest(root: Path, path: str) -> str:
    """Compute the digest of a file, whether it exists or not."""
    file = root / path
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else "none"


def has_doctest(file: Path) -> bool:
    """Tell whether a module has examples in its docstrings."""
    text = file.read_text()
    if ">>>" not in text:
        return False
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    owners = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return any(">>>" in (ast.get_docstring(owner) or "") for owner in owners)
