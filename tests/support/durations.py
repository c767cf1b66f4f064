"""Run long tests first, share the files out among processes, and tell slow tests from fast ones: by measured durations.

``tests/durations.json`` holds the seconds of every test that takes at least ``LISTED``, by node id, and the seconds of
all other tests of a file together, by the file's name. ``pytest --record-durations`` writes it anew when all tests have
passed. A test that the file does not know counts as fast, so that a new test runs with the fast ones.
"""

import gc
import json
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[1] / "durations.json"
LISTED = 0.2
"""Seconds from which a test is listed by itself, and is slow: ``make check`` leaves it out."""
LONG = 10.0
"""Seconds from which all tests of a file are slow: they share fixtures, which the first of them pays for."""
APART = 4.0
"""Seconds from which a fact may be measured in another process than the rest of its file."""

FACTS = "tests/zoo/test_checkpoints.py"
"""The tests that measure the facts of all checkpoints. They come first: later tests take the facts from there."""

_measured: dict[str, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the file."""
    parser.addoption("--record-durations", action="store_true", help="write tests/durations.json after the run")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker that the file gives, and let nothing search for garbage among what is imported."""
    gc.disable()
    config.addinivalue_line("markers", f"slow: takes {LISTED} s or more, as recorded in tests/durations.json")


def pytest_collection_finish() -> None:
    """Let garbage be collected again, without looking at the modules and tests that stay to the end."""
    gc.freeze()
    gc.enable()


@lru_cache(maxsize=1)
def _read_durations() -> dict[str, float]:
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def _group(name: str) -> str:
    """Return what one process runs in a row: a file, whose tests may share what is costly; a long fact alone."""
    apart = name.startswith(FACTS) and _read_durations().get(name, 0) >= APART
    return name if apart else name.partition("::")[0]


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and put all in their order."""
    for item in items:
        # A test that shares facts is fast only after another one has measured them.
        shares = "shared_facts" in getattr(item, "fixturenames", ())
        if shares or _is_slow(item.nodeid):
            item.add_marker(pytest.mark.slow)
    _sort(items)


def _is_slow(name: str) -> bool:
    file = name.partition("::")[0]
    if file.endswith(".md"):  # the blocks of a page go on from each other
        return file in _slow_files()
    return _read_durations().get(name, 0) >= LISTED or _length(file) >= LONG


@lru_cache(maxsize=1000)
def _length(file: str) -> float:
    return sum(seconds for name, seconds in _read_durations().items() if name.partition("::")[0] == file)


@lru_cache(maxsize=1)
def _slow_files() -> set[str]:
    return {name.partition("::")[0] for name in _read_durations() if "::" in name}


def _sort(items: list[pytest.Item]) -> None:
    """Put the facts first, then the longest group; the tests of a group stay in their order."""
    lengths: dict[str, float] = defaultdict(float)
    for item in items:
        group = _group(item.nodeid)
        if group not in lengths and group != item.nodeid:
            lengths[group] = _read_durations().get(group, 0)
        lengths[group] += _read_durations().get(item.nodeid, 0)

    def rank(item: pytest.Item) -> tuple[bool, float]:
        return not item.nodeid.startswith(FACTS), -lengths[_group(item.nodeid)]

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send each group to one process, in the order in which they stand."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:  # what pytest-xdist documents for groups of one's own
            return _group(nodeid)

    return Groups(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up how long each test takes, with its fixtures."""
    _measured[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write what was measured, where that was asked for and every test has passed."""
    asked = session.config.getoption("--record-durations") and not hasattr(session.config, "workerinput")
    if not asked or exitstatus != pytest.ExitCode.OK:
        return
    listed: dict[str, float] = defaultdict(float)
    for name, duration in _measured.items():
        # short tests are counted together under the name of their file
        listed[name if duration >= LISTED else name.partition("::")[0]] += duration
    content = {name: round(duration, 1) for name, duration in sorted(listed.items()) if round(duration, 1) > 0}
    FILE.write_text(json.dumps(content, indent=1) + "\n")
