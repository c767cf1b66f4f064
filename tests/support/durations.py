"""Run long tests first, share the files out among processes, and tell slow tests from fast ones: by measured durations.

``tests/durations.json`` holds the seconds of every test that takes at least ``LISTED``, by node id, and the seconds of
all other tests of a file together, by the file's name. ``pytest --record-durations`` writes it anew after a run of the
whole suite. A test that the file does not know counts as fast, so that a new test runs with the fast ones.
"""

import json
from collections import defaultdict
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "durations.json"
LISTED = 0.4
"""Seconds from which a test is listed by itself, and is slow: ``make check`` leaves it out."""
APART = 4.0
"""Seconds from which a test may run in another process than the rest of its file."""

_measured: dict[str, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the file."""
    parser.addoption("--record-durations", action="store_true", help="write tests/durations.json after the run")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker that the file gives."""
    config.addinivalue_line("markers", f"slow: takes {LISTED} s or more, as recorded in tests/durations.json")


@pytest.hookimpl(tryfirst=True)  # before the processes tell each other the names of their tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, give each test the group that one process runs in a row, and put the longest group first."""
    seconds = json.loads(FILE.read_text()) if FILE.is_file() else {}
    lengths: dict[str, float] = defaultdict(float)
    groups = {}
    for item in items:
        name = item.nodeid
        file = name.partition("::")[0]
        if seconds.get(name, 0) >= LISTED:
            item.add_marker(pytest.mark.slow)
        group = name if seconds.get(name, 0) >= APART else file
        if group not in lengths:
            lengths[group] = seconds.get(file, 0)
        lengths[group] += seconds.get(name, 0)
        groups[item] = group
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: -lengths[groups[item]])  # stable: the tests of a group stay in their order


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up how long each test takes, with its fixtures."""
    _measured[report.nodeid.rpartition("@")[0] or report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was measured, where that was asked for."""
    if hasattr(session.config, "workerinput") or not session.config.getoption("--record-durations"):
        return
    listed: dict[str, float] = defaultdict(float)
    for name, duration in _measured.items():
        listed[name if duration >= LISTED else name.partition("::")[0]] += duration
    content = {name: round(duration, 1) for name, duration in sorted(listed.items()) if round(duration, 1) > 0}
    FILE.write_text(json.dumps(content, indent=1) + "\n")
