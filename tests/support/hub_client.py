"""Clients of a hub that are processes of their own, and what they publish and find there."""

import os
import shutil
import textwrap
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from forked import start_process
from hub_server import Hub

from memzoo.zoo.registry.registries import home

MODES = ["xet", "lfs"]
BOTH = pytest.mark.parametrize("server", MODES, indirect=True)
"""A test whose outcome may depend on how large files travel; ``MEMZOO_TEST_HUB=both`` runs every test so."""

TOKENS = {"hf_right": "zoo", "hf_other": "other"}
PRELUDE = """
import os, sys, warnings
output = os.open({output!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(output, 1), os.dup2(output, 2)
assert "huggingface_hub" not in sys.modules
for name in [name for name in os.environ if name.startswith(("HF_", "MEMZOO_", "XDG_"))]:
    del os.environ[name]
os.environ.update({environment!r})
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "Use .content=", DeprecationWarning)  # the client on its own HTTP library
warnings.filterwarnings("ignore", ".* argument is deprecated, use", DeprecationWarning)  # matplotlib 3.9
from pathlib import Path
import pytest, torch, memzoo
from memzoo import errors
memory = {memory!r}
"""


@dataclass
class Client:
    """Runs code in fresh processes: a cache and variables of its own, nothing of the Hub's client imported yet."""

    folder: Path
    variables: dict[str, str]
    count: int = field(default=0)

    def start(self, code: str, **variables: str) -> "Running":
        """Start ``code``; what is told by ``variables`` is set in its environment, empty ones are taken out."""
        self.count += 1
        output = self.folder / f"output-{self.count}.txt"
        chosen = {name: value for name, value in (self.variables | variables).items() if value}
        prelude = PRELUDE.format(output=str(output), environment=chosen, memory=str(self.folder))
        return Running(start_process(exec, prelude + textwrap.dedent(code), {"__name__": "client"}), output)

    def run(self, code: str, **variables: str) -> str:
        """Run ``code`` to its end; returns what it printed."""
        return self.start(code, **variables).finish()

    @property
    def cache(self) -> Path:
        """Return the folder of its downloads."""
        return Path(self.variables["HF_HOME"]) / "hub"

    def empty(self) -> None:
        """Remove all that this machine has fetched."""
        for name in ("HF_HOME", "MEMZOO_DIR"):
            shutil.rmtree(self.variables[name], ignore_errors=True)


@dataclass
class Running:
    """A process that was started."""

    process: BaseProcess
    output: Path

    def finish(self, timeout: float = 120) -> str:
        """Wait for its end, which must be a good one."""
        self.process.join(timeout)
        printed = self.output.read_text() if self.output.exists() else ""
        assert self.process.exitcode == 0, f"ended with {self.process.exitcode}:\n{printed}"
        return printed

    def kill(self) -> None:
        """Kill it by SIGKILL, which it cannot catch."""
        self.process.kill()
        self.process.join()


@dataclass
class OnHub:
    """A checkpoint that is on the hub, and a registry file that pins it, with no files beside it."""

    registry: Path
    commit: str
    source: Path
    """Folder of the files it was published from."""


def publish(hub: Hub, client: Client, registry: Path) -> OnHub:
    """Publish what a registry file describes as ``zoo/small-fc``, in a new repository."""
    if "zoo/small-fc" in hub.private:
        hub.delete("zoo/small-fc")
    client.run(f"memzoo.publish('small-fc', 'zoo/small-fc', record={str(registry)!r})", MEMZOO_REGISTRIES=str(registry))
    # publishing leaves files in the cache
    client.empty()
    return pin_checkpoint(hub, client, registry)


def pin_checkpoint(hub: Hub, client: Client, registry: Path) -> OnHub:
    """Leave the machine the registry file that pins the checkpoint, and nothing else."""
    alone = registry.parent / "alone" / "registry.yaml"
    alone.parent.mkdir(exist_ok=True)
    shutil.copy(registry, alone)
    client.variables["MEMZOO_REGISTRIES"] = str(alone)
    commit = hub.head("zoo/small-fc")
    assert commit is not None
    return OnHub(alone, commit, registry.parent / "checkpoints/small-fc")


def installation(folder: Path, *, files: bool) -> Path:
    """Copy the registry, with or without the files of the checkpoints, and return the registry file."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(home() / "checkpoints.yaml", folder)
    if files:
        # hard links: the files of the zoo are large
        shutil.copytree(home() / "checkpoints", folder / "checkpoints", copy_function=os.link)
    return folder / "checkpoints.yaml"
