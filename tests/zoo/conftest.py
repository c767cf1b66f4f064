import shutil
from pathlib import Path

import pytest
from small_checkpoint import small_checkpoint

from memzoo.zoo.registry import registries


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The registry file of a small checkpoint with weights of steps 100 and 200, not to be changed."""
    return small_checkpoint(tmp_path_factory.mktemp("template"), steps=(100, 200))


@pytest.fixture
def small(template, tmp_path) -> Path:
    """A registry file with one small checkpoint, ``small-fc``."""
    return Path(shutil.copytree(template.parent, tmp_path / "own")) / template.name


@pytest.fixture(autouse=True)
def own_registries_and_memory(monkeypatch, tmp_path):
    """What a test registers, and what it remembers of files, is its own."""
    monkeypatch.setattr(registries, "_registered", [])
    monkeypatch.setenv("MEMZOO_DIR", str(tmp_path / "memzoo"))
    monkeypatch.delenv("MEMZOO_REGISTRIES", raising=False)
