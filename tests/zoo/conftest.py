import pytest
from small_checkpoint import small_checkpoint

from memzoo.zoo.registry import registries


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Make a small checkpoint with weights of steps 100 and 200; return its registry file, not to be changed."""
    return small_checkpoint(tmp_path_factory.mktemp("template"), steps=(100, 200))


@pytest.fixture(autouse=True)
def keep_registries_apart(monkeypatch, tmp_path):
    """Let no test see what another registers or downloads."""
    monkeypatch.setattr(registries, "_registered", [])
    monkeypatch.setenv("MEMZOO_DIR", str(tmp_path / "memzoo"))
    monkeypatch.delenv("MEMZOO_REGISTRIES", raising=False)
