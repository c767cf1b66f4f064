"""What surrounds the package: bounds, changelog, lock file, workflows."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import changelog_section
import lower_bounds
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import memzoo
from memzoo.zoo.registry.registries import home

ROOT = home()
pytestmark = pytest.mark.skipif(not (ROOT / "Makefile").is_file(), reason="needs the source tree")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def read_project_table():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


# Bounds


def test_lower_bounds_become_constraints():
    assert lower_bounds.pin(["torch>=2.6", "jsonargparse[signatures]>=4.49.1", "a_b >= 1.0rc1"]) == [
        "torch==2.6",
        "jsonargparse==4.49.1",
        "a_b==1.0rc1",
    ]


@pytest.mark.parametrize(
    "requirement", ["torch", "torch<3", "torch>=2.6,<3", "torch==2.6", "torch>=2.6; os_name == 'nt'"]
)
def test_a_requirement_without_one_lower_bound_is_refused(requirement):
    with pytest.raises(ValueError, match=r"declares no single lower bound; write it as 'name>=version'"):
        lower_bounds.pin([requirement])


def test_every_dependency_has_a_lower_bound():
    names = [
        Requirement(line).name for line in lower_bounds.pin(lower_bounds.read_dependencies(ROOT / "pyproject.toml"))
    ]
    assert names == [Requirement(line).name for line in read_project_table()["dependencies"]]


# Changelog


TEXT = """# Changelog

## [Unreleased]

## [1.1.0] - 2030-02-01

### Added

- New.

## [1.0.0]

First.

## [0.9] - 2029-01-01
"""


def test_a_section_of_the_changelog_is_cut_out():
    assert changelog_section.cut_section(TEXT, "1.1.0") == "### Added\n\n- New."
    assert changelog_section.cut_section(TEXT, "v1.1.0") == "### Added\n\n- New."


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.0.0", r"version 1\.0\.0 has no date in the changelog; write '## \[1\.0\.0\] - YYYY-MM-DD'"),
        ("0.9", r"says nothing about version 0\.9; write what it adds"),
        ("1.1", r"has no version 1\.1, only Unreleased, 1\.1\.0, 1\.0\.0, 0\.9; give it a heading"),
        ("Unreleased", r"version Unreleased has no date"),
    ],
)
def test_a_missing_section_is_an_error(version, message):
    with pytest.raises(ValueError, match=message):
        changelog_section.cut_section(TEXT, version)


def test_this_version_is_in_the_changelog_and_in_the_citation():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert changelog_section.cut_section(text, memzoo.__version__)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == memzoo.__version__
    assert f"## [{memzoo.__version__}] - {citation['date-released']}" in text


# Lock file


def read_lock_file():
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    return [Requirement(line.removesuffix(" \\")) for line in lines if re.match(r"[A-Za-z0-9]", line)]


def test_the_lock_file_holds_every_direct_requirement():
    project = read_project_table()
    pinned = read_lock_file()
    # What `make integrations` measures has an environment of its own.
    extras = [lines for name, lines in project["optional-dependencies"].items() if name != "integrations"]
    for line in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        wanted = Requirement(line)
        if wanted.name == project["name"]:
            continue
        name = wanted.name.lower().replace("_", "-")
        versions = [str(next(iter(one.specifier)).version) for one in pinned if one.name.lower() == name]
        assert versions, f"{wanted.name} is not in requirements-dev.lock: `make lock`"
        assert all(wanted.specifier.contains(version) for version in versions), (
            f"{line}, locked {versions}: `make lock`"
        )


def test_the_lock_file_names_no_index_and_no_version_that_is_known_to_be_broken():
    text = (ROOT / "requirements-dev.lock").read_text()
    assert not re.search(r"https?:|file:|--index|--find-links|^\s*# .*/", text, re.MULTILINE)
    assert [one for one in read_lock_file() if one.name == "torch"]
    assert not [one for one in read_lock_file() if one.name == "torch" and one.specifier.contains("2.13.0")]


# Workflows

WRITES = {
    ("release", "pypi"): {("id-token", "write")},  # trusted publishing
    ("release", "github"): {("contents", "write")},  # the text of the release
}
"""The only jobs with a right to write, and to what."""


def commands(workflow):
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_workflows_call_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {
        word
        for workflow in WORKFLOWS
        for command in commands(workflow)
        for line in command.splitlines()
        if line.startswith("make ")
        for word in line.split()[1:]
        if "=" not in word
    }
    assert {"unit", "oldest", "docs", "smoke"} <= called <= targets


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_has_a_limit_and_no_right_that_it_does_not_name(workflow):
    content = yaml.safe_load(workflow.read_text())
    assert content["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in content
    for name, job in content["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 180, name
        granted = {(right, value) for right, value in job.get("permissions", {}).items() if value != "read"}
        assert granted == WRITES.get((workflow.stem, name), set()), name
        assert all(
            re.search(r"@(v\d+|release/v\d+|[0-9a-f]{40})$", step["uses"]) for step in job["steps"] if "uses" in step
        )


def test_only_what_was_tested_and_lies_on_main_is_published():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    order = ["test", "build", "pypi", "github"]
    expected = [None, *order[:-1]]
    assert [jobs[name].get("needs") for name in order] == expected
    assert "make test" in [step.get("run") for step in jobs["test"]["steps"]]
    checkout, *_ = jobs["build"]["steps"]
    assert checkout["with"]["fetch-depth"] == 0  # without the history nothing is an ancestor
    runs = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert any('merge-base --is-ancestor "$GITHUB_SHA" origin/main' in run for run in runs)
    assert not [step for job in jobs.values() for step in job["steps"] if "cache" in step.get("with", {})]


def test_every_python_that_is_promised_is_tested():
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["newest"]["strategy"]["matrix"]
    promised = [line.split(" :: ")[-1] for line in read_project_table()["classifiers"] if "Python :: 3." in line]
    assert matrix["python"] == promised
    expected = Version(read_project_table()["requires-python"].removeprefix(">="))
    assert Version(min(promised, key=Version)) == expected


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [ROOT / ".github/ISSUE_TEMPLATE/config.yml"]),
        ("vendor.dependabot", [ROOT / ".github/dependabot.yml"]),
    ],
    ids=["workflows", "forms", "config", "dependabot"],
)
def test_files_for_the_forge_follow_their_schemas(schema, files):
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_form_for_a_wrong_number_asks_for_what_decides_it():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/wrong-number.yml").read_text())
    required = {part["id"] for part in form["body"] if part.get("validations", {}).get("required")}
    assert required == {"map", "call", "value", "expected", "why", "versions"}


def test_tools_are_run_by_the_makefile_or_a_workflow():
    callers = (ROOT / "Makefile").read_text() + "".join(path.read_text() for path in WORKFLOWS)
    for tool in Path(ROOT / "tools").glob("*.py"):
        assert f"tools/{tool.name}" in callers or f"tools.{tool.stem}" in callers
