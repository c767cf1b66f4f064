"""A hub for each way of storing large files, and a machine that talks to it."""

import os
import shutil
from pathlib import Path

import pytest
from hub_client import MODES, TOKENS, Client, OnHub, pin_checkpoint, publish
from hub_server import Hub, Server
from small_checkpoint import small_checkpoint


def pytest_generate_tests(metafunc):
    marked = any(mark.args[0] == "server" for mark in metafunc.definition.iter_markers("parametrize"))
    if "server" in metafunc.fixturenames and not marked:
        modes = MODES if os.environ.get("MEMZOO_TEST_HUB") == "both" else MODES[:1]
        metafunc.parametrize("server", modes, indirect=True, scope="module")


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    """Serve a hub that stores large files by Xet, or by git-LFS alone."""
    if shutil.which("git") is None:
        pytest.skip("the server keeps its repositories with git, which is not installed")
    server = Server(tmp_path_factory.mktemp(request.param) / "hub", TOKENS, xet=request.param == "xet")
    yield server
    server.close()


@pytest.fixture
def hub(server) -> Hub:
    """Return the hub behind the server; nothing goes wrong at first."""
    server.hub.faults.clear()
    return server.hub


@pytest.fixture
def client(server, tmp_path) -> Client:
    """Return a machine with an empty cache, that knows its token."""
    variables = {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "hf"),
        "MEMZOO_DIR": str(tmp_path / "memzoo"),
        "HF_TOKEN": "hf_right",
        "HF_HUB_DISABLE_XET": "" if server.hub.xet else "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return Client(tmp_path, variables)


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """Write a small checkpoint, not to be changed, and return its registry file."""
    return small_checkpoint(tmp_path_factory.mktemp("template"), steps=(100,))


@pytest.fixture
def publication(hub, client, small, snapshots) -> OnHub:
    """Publish the small checkpoint as ``zoo/small-fc``; nobody has fetched it."""
    if hub not in snapshots:
        found = publish(hub, client, small)
        copy = hub.root / "snapshot.git"
        # publishing takes seconds, copying its repository takes none
        shutil.copytree(hub.path("zoo/small-fc"), copy)
        snapshots[hub] = (copy, found.registry.read_text())
        return found
    copy, registry = snapshots[hub]  # the repository as it was then
    hub.private["zoo/small-fc"] = False
    shutil.rmtree(hub.path("zoo/small-fc"), ignore_errors=True)
    shutil.copytree(copy, hub.path("zoo/small-fc"))
    small.write_text(registry)
    return pin_checkpoint(hub, client, small)


@pytest.fixture(scope="session")
def snapshots() -> dict[Hub, tuple[Path, str]]:
    """Keep the repository and the registry after the first publishing, for each hub."""
    return {}
