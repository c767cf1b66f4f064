"""What the pages promise to cover."""

import inspect
from pathlib import Path

import pytest

from memzoo import errors

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", [name for name, kind in vars(errors).items() if inspect.isclass(kind)])
def test_every_error_has_its_remedy(name):
    assert name in (DOCS / "trouble.md").read_text(), (
        f"docs/trouble.md does not name {name}: add what it means and what to do"
    )


def test_the_messages_shown_are_those_of_the_code():
    source = " ".join(path.read_text() for path in (DOCS.parent / "memzoo").rglob("*.py"))
    for said in (
        "has no such revision",
        "came the same",
        "was not opened",
        "is a Git LFS pointer",
        "forbids to ask the Hub",
        "A server without Xet needs",
        "its facts do not hold",
        "has changed since it was looked at",
        "the disk or a quota is full",
        "the cache cannot be written",
        "is in two registries",
        "which is freer than",
        "but the images that travel with the weights are under",
        "and there is no default",
    ):
        assert said in source, f"no message of memzoo says '{said}' any more: change docs/trouble.md and this list"
        assert said in (DOCS / "trouble.md").read_text(), f"docs/trouble.md does not show '{said}'"
