"""What is built carries the registry and the small checkpoints; the others are in the repository and on the Hub."""

import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MOST = 1_200_000  # compressed bytes of a checkpoint
ALWAYS = {"cifar10-d1", "mnist20-fc14x128"}  # those of the README


class SmallCheckpoints(BuildHookInterface):
    """Add the registry and the small checkpoints to a wheel, as package data, and to a source distribution.

    With them ``memzoo.load`` works from an installed wheel without network. A source distribution gets the same ones:
    the wheel that is built from it equals the one of a clone, and all checkpoints together would exceed the 100 MB that
    PyPI allows a file.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files to carry, before hatchling collects them; an editable installation reads the source tree."""
        if version == "editable":
            return
        inside = "memzoo/" if self.target_name == "wheel" else ""
        for path in ["checkpoints.yaml", *small_checkpoints(Path(self.root))]:
            build_data["force_include"][path] = f"{inside}{path}"


def small_checkpoints(root: Path) -> list[str]:
    """Name the files of the checkpoints that are built in, relative to the root of the source tree."""
    chosen = []
    for folder in sorted((root / "checkpoints").iterdir()):
        if not (folder / "config.json").is_file() or folder.name.startswith("."):
            continue  # no checkpoint, or one that was not written to its end
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        if folder.name in ALWAYS or sum(_packed(path) for path in files) <= MOST:
            chosen += [path.relative_to(root).as_posix() for path in files]
    return chosen


def _packed(path: Path) -> int:
    return len(zlib.compress(path.read_bytes(), 1))
