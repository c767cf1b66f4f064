"""The rules of the Makefile that make an environment, with a Python that only writes down what it is asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memzoo.zoo.registry.registries import home

FAKE = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    "-c import sys; print("*) echo 3.11 ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && test -z "$KILLED" ;;
    "-m pip --version") test -z "$WITHOUT_PIP" ;;
    "-m pip install "*) test -z "$INTERRUPTED" ;;
esac
"""
OTHER = """#!/bin/sh
exec "{python}" -c 'import sys; code = sys.argv[2]; sys.version_info = {version}; exec(code)' "$@"
"""
VENV = "-m venv .venv"
PIP = "-m pip install -q"


def write_other_python(path, version):
    """Write a program that runs Python and reports this version."""
    path.write_text(OTHER.format(python=sys.executable, version=version))
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path):
    """Copy what the rules need into a folder with a blank in its path; return a function that runs make there."""
    root = home()
    if not (root / "Makefile").is_file():
        pytest.skip("needs the source tree")
    folder = tmp_path / "with blank" / "memzoo"
    fake = tmp_path / "fake-python"
    calls = tmp_path / "calls"
    folder.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(root / name, folder)
    fake.write_text(FAKE)
    fake.chmod(0o755)

    def make(target=".venv/installed", python=fake, **environment):
        """Run make; its result, and the calls of Python that set something up."""
        calls.unlink(missing_ok=True)
        outer = {"CONSTRAINED", "EXTRAS", "PYTHON", "VENV"}  # what the make that runs the tests was given
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name not in outer}
        env = {**ours, "CALLS": str(calls), **environment}
        result = subprocess.run(
            ["make", f"PYTHON={python}", *target.split()],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        said = calls.read_text().splitlines() if calls.exists() else []
        return result, [call for call in said if call.startswith((VENV, PIP))]

    make.folder = folder
    make.environment = folder / ".venv"
    return make


def test_an_environment_is_made_once(project):
    result, calls = project()
    assert result.returncode == 0, result.stderr
    assert calls == [VENV, f"{PIP} -e ."]
    assert project()[1] == []
    assert project(".venv/installed-test")[1] == [f"{PIP} -e .[test,docs]"]
    assert project(".venv/installed-test")[1] == []


def test_changed_requirements_are_installed_into_the_same_environment(project):
    project(".venv/installed-test")
    # make compares times of files
    later = project.environment.joinpath("installed-test").stat().st_mtime + 5
    os.utime(project.folder / "pyproject.toml", (later, later))
    assert project()[1] == [f"{PIP} -e ."]


def test_a_failed_upgrade_leaves_the_environment_that_was_there(project):
    project(".venv/installed-test")
    kept = project.environment / "kept"
    kept.touch()
    later = project.environment.joinpath("installed-test").stat().st_mtime + 5
    os.utime(project.folder / "pyproject.toml", (later, later))
    result, calls = project(INTERRUPTED="yes")  # as without network
    assert (result.returncode != 0, calls) == (True, [f"{PIP} -e ."])
    assert project()[1] == [f"{PIP} -e ."]
    assert kept.exists()


def test_extras_that_were_interrupted_are_installed_again(project):
    project()
    assert project(".venv/installed-test", INTERRUPTED="yes")[0].returncode != 0
    assert project(".venv/installed-test")[1] == [f"{PIP} -e .[test,docs]"]


def test_an_environment_that_somebody_made_by_hand_is_added_to(project, tmp_path):
    (project.environment / "bin").mkdir(parents=True)
    shutil.copy(tmp_path / "fake-python", project.environment / "bin/python")
    assert project()[1] == [f"{PIP} -e ."]


def interrupt_while_packages_are_installed(project):
    assert project(INTERRUPTED="yes")[0].returncode != 0


def interrupt_between_environment_and_packages(project):
    assert project(KILLED="yes")[0].returncode != 0
    assert (project.environment / "bin/python").exists()
    assert not (project.environment / "installed").exists()


def remove_its_python(project):
    project()
    (project.environment / "bin/python").unlink()


def break_its_python(project):
    project()
    (project.environment / "bin/python").unlink()
    (project.environment / "bin/python").symlink_to("/nowhere/python3")


@pytest.mark.parametrize(
    "half_made",
    [
        interrupt_while_packages_are_installed,
        interrupt_between_environment_and_packages,
        remove_its_python,
        break_its_python,
    ],
)
def test_a_half_made_environment_is_made_again(project, half_made):
    half_made(project)
    project.environment.joinpath("left over").touch()
    result, calls = project()
    assert result.returncode == 0, result.stderr
    assert calls == [VENV, f"{PIP} -e ."]
    assert not project.environment.joinpath("left over").exists()
    assert project()[1] == []


def test_an_environment_without_pip_is_made_again(project):
    project()
    (project.environment / "installed").unlink()
    assert project(WITHOUT_PIP="yes")[1][0] == VENV


def test_an_old_python_is_refused_before_anything_is_made(project, tmp_path):
    result, _ = project(python=write_other_python(tmp_path / "python3.10", (3, 10, 13)))
    assert result.returncode != 0
    assert "memzoo needs Python 3.11 or newer: make PYTHON=python3.12" in result.stderr
    assert not project.environment.exists()


def test_the_oldest_environment_is_held_at_the_declared_bounds(project):
    shutil.copytree(home() / "tools", project.folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    result, calls = project("oldest", OLDEST_PYTHON=str(Path(project.folder).parents[1] / "fake-python"))
    assert result.returncode == 0, result.stderr
    assert calls == [
        f"{VENV}-oldest",
        "-m pip install -q --constraint .venv-oldest/constraints.txt -e .",
        "-m pip install -q --constraint .venv-oldest/constraints.txt -e .[test]",
    ]


@pytest.mark.parametrize(("version", "found"), [((3, 12, 1), "3.12"), (None, "not there")])
def test_the_oldest_environment_needs_the_oldest_python(project, tmp_path, version, found):
    python = tmp_path / "some-python"
    if version is not None:
        write_other_python(python, version)
    result, calls = project("oldest", OLDEST_PYTHON=str(python))
    assert result.returncode != 0
    assert f"make oldest needs Python 3.11, and {python} is {found}: make oldest OLDEST_PYTHON=PATH" in result.stderr
    assert calls == []


@pytest.mark.parametrize("outside", [False, True])
def test_types_are_verified_by_the_pyright_of_the_environment(project, tmp_path, outside):
    environment = tmp_path / "outside" if outside else project.environment
    (environment / "bin").mkdir(parents=True)
    for name in ("installed", "installed-test"):
        (environment / name).touch()
    shutil.copy(tmp_path / "fake-python", environment / "bin/python")
    pyright = environment / "bin/pyright"
    pyright.write_text('#!/bin/sh\necho "ours: $*"\n')
    pyright.chmod(0o755)
    result, _ = project(f"verifytypes VENV={environment if outside else '.venv'}")
    assert "ours: --verifytypes memzoo" in result.stdout, result.stderr
