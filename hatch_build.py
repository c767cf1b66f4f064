"""The wheel carries the registry and the small checkpoints; the others are in the repository and on the Hub."""

import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MOST = 1_200_000  # compressed bytes of a checkpoint
ALWAYS = {"cifar10-d1", "mnist20-fc14x128"}  # those of the README


class SmallCheckpoints(BuildHookInterface):
    """Adds them as package data, so that ``memzoo.load`` works from an installed wheel without network."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files; an editable installation reads the source tree."""
        if version == "editable":
            return
        root = Path(self.root)
        build_data["force_include"]["checkpoints.yaml"] = "memzoo/checkpoints.yaml"
        for folder in sorted((root / "checkpoints").iterdir()):
            if not (folder / "config.json").is_file() or folder.name.startswith("."):
                continue  # no checkpoint, or one that was not written to its end
            files = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
            if folder.name in ALWAYS or sum(_packed(folder / name) for name in files) <= MOST:
                for name in files:
                    inside = f"checkpoints/{folder.name}/{name}"
                    build_data["force_include"][inside] = f"memzoo/{inside}"


def _packed(path: Path) -> int:
    return len(zlib.compress(path.read_bytes(), 1))
