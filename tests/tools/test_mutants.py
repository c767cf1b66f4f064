"""The mutation tool: its mistakes are what they say, and it tells a test that guards from one that does not."""

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tools.mutants import trials
from tools.mutants.sites import find_sites, make_mutant

ROOT = __file__.rsplit("/tests/", 1)[0]


def list_variants(source):
    """List what each mistake makes of a piece of source, by its line, kind and text."""
    source = textwrap.dedent(source)
    found = find_sites(ast.parse(source))
    return {(site.line, site.kind, ast.unparse(make_mutant(source, number))) for number, site in enumerate(found)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a < b", {("comparison", "a >= b"), ("boundary", "a <= b")}),
        ("a == b", {("comparison", "a != b")}),
        ("a in b", {("comparison", "a not in b")}),
        ("a and b", {("comparison", "a or b")}),
        ("not a", {("comparison", "not not a")}),
        ("~a", {("comparison", "~~a")}),
        ("a & b", {("comparison", "a | b")}),
        ("a + b", {("sign", "a - b")}),
        ("a / b", {("sign", "a * b")}),
        ("-a", {("sign", "+a")}),
        ("f(2)", {("constant", "f(3)")}),
        ("f(0.5)", {("constant", "f(1.5)")}),
        ("f(a=True)", {("constant", "f(a=False)")}),
        ("a < b < c", {(k, e) for k, e in [
            ("comparison", "a >= b < c"), ("comparison", "a < b >= c"),
            ("boundary", "a <= b < c"), ("boundary", "a < b <= c"),
        ]}),
        # what has no mistake: text, joined lists, types, and messages
        ("'text'", set()),
        ("[a] + b", set()),
        ("int | None", set()),
        ("f'{a + 1}'", set()),
        ("ValueError(1 + 1)", set()),
    ],
)  # fmt: skip
def test_each_mistake_in_an_expression_is_found(expression, expected):
    assert {(kind, text) for _, kind, text in list_variants(expression)} == expected


def test_statements_are_dropped_where_the_rest_still_runs():
    source = """
        def f(x: Float[1], y: int):
            '''Add 1.'''
            check(x)
            y = x
            z = y
            z.a = y
            log.info(y)
            if y:
                return z
            raise ValueError(y + 1)
        """
    variants = list_variants(source)
    found = {line: text for line, kind, text in variants if kind == "dropped statement"}
    assert found.keys() == {4, 5, 7, 10, 11}  # not z, which would be unknown, nor a log line
    assert all("pass" in text for text in found.values())
    assert {kind for _, kind, _ in variants} == {"dropped statement"}


def test_what_is_no_part_of_the_program_is_left_alone():
    source = """
        __all__ = ["a" * 2]
        if TYPE_CHECKING:
            limit = 1
        x: Annotated[int, 3] = y
        warnings.warn(f"{1 + 1}", stacklevel=2)
        """
    assert list_variants(source) == set()


def test_lines_stay_where_they_are():
    source = "def f(x):\n    # a comment\n    check(x)\n\n    return x + 1\n"
    for number in range(len(find_sites(ast.parse(source)))):
        (function,) = make_mutant(source, number).body
        assert [node.lineno for node in function.body] == [3, 5]


@pytest.fixture
def project(tmp_path):
    """Write a small project with a function that a test guards and one that none does."""
    (tmp_path / "memzoo/dynamics").mkdir(parents=True)
    (tmp_path / "tests/dynamics").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    for name in ("memzoo/__init__.py", "memzoo/dynamics/__init__.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "memzoo/dynamics/toy.py").write_text(
        "def guarded(x):\n    return x + 1\n\n\ndef unguarded(x):\n    return x < 5\n"
        "\n\ndef shown(x):\n    '''Halve.\n\n    >>> shown(4)\n    2.0\n    '''\n    return x / 2\n"
        "\n\ndef leaves(x):\n    if x < 0:\n        import os\n        os._exit(3)\n    return x\n"
        "\n\ndef ends(x):\n    while x > 0:\n        x -= 1\n    return x\n"
    )
    (tmp_path / "tests/dynamics/test_toy.py").write_text(
        "import subprocess, sys\n"
        "from memzoo.dynamics.toy import ends, guarded, leaves, unguarded\n\n"
        "def test_guarded():\n    assert guarded(1) == 2\n\n"
        "def test_unguarded():\n    assert unguarded(1)\n\n"
        "def test_leaves():\n    assert leaves(1) == 1\n\n"
        "def test_ends():\n    assert ends(3) == 0\n"
    )
    return tmp_path


RUN = """
import sys
from pathlib import Path
from tools.mutants import reach, trials
trials.FLOOR = 1
tried = {"x + 1 → x - 1", "x < 5 → x <= 5", "x / 2 → x * 2", "x -= 1 → pass", "x < 0 → x >= 0"}
root = Path(sys.argv[1])
tests = trials.Tests(root, reach.Reach(root, root / "kept/tests.json"))
found = trials.list_mutants(root)
own = tests.list_own("memzoo/dynamics/toy.py")
tests.reach.record(own, 2, str)
plan = ((mutant, tests.choose(mutant, own), 60) for mutant in found if mutant.site.change in tried)
for mutant, verdict in trials.try_all(root, plan, 2):
    print(verdict.killed, mutant.site.line, mutant.site.change, verdict.by, sep="|")
"""


def test_a_mistake_in_a_guarded_function_is_noticed_and_another_survives(project):
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    variables = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", RUN, project]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    rows = [row.split("|") for row in done.stdout.splitlines()]
    found = {(line, change): (killed, by) for killed, line, change, by in rows}
    guard = "tests/dynamics/test_toy.py::test_guarded"
    assert len(found) == 5
    assert found["2", "x + 1 → x - 1"] == ("True", guard)
    assert found["6", "x < 5 → x <= 5"] == ("False", "1 tests pass")  # the two other tests do not execute the line
    example = "memzoo/dynamics/toy.py::memzoo.dynamics.toy.shown"
    assert found["15", "x / 2 → x * 2"] == ("True", example)
    assert found["27", "x -= 1 → pass"] == ("True", "three times as long")  # it never ends
    killed, by = found["19", "x < 0 → x >= 0"]
    assert (killed, by.startswith("the process died")) == ("False", True)  # which shows nothing
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before


def test_modules_of_sub_folders_have_mutants_and_the_tests_of_their_folder(project):
    inner = project / "memzoo/dynamics/inner"
    inner.mkdir()
    (inner / "deep.py").write_text("def deep(x):\n    return x + 1\n")
    paths = {mutant.path for mutant in trials.list_mutants(project)}
    assert paths == {"memzoo/dynamics/toy.py", "memzoo/dynamics/inner/deep.py"}
    tests = trials.Tests(project, reach=None)
    assert tests.list_own("memzoo/dynamics/inner/deep.py") == ["tests/dynamics/test_toy.py"]


def test_the_files_of_the_zoo_that_have_mutants_exist():
    assert all((Path(ROOT) / "memzoo" / file).is_file() for file in trials.ZOO)


def test_processes_that_a_test_starts_have_the_mistake_too(project):
    code = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom tools.mutants.serving import serve\n"
        f"serve(Path({str(project)!r}), 'memzoo/dynamics/toy.py', 0)\n"
        "ask = 'from memzoo.dynamics.toy import guarded; print(guarded(1))'\n"
        "print(subprocess.run([sys.executable, '-c', ask], capture_output=True, text=True, check=True).stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    source = (project / "memzoo/dynamics/toy.py").read_text()
    first = find_sites(ast.parse(source))[0]
    assert (first.change, done.stdout.split()) == ("x + 1 → x - 1", ["0"])
