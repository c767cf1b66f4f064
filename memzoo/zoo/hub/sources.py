"""Where the files of a checkpoint may lie: folders on this machine, and a repository on the Hub."""

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, MemzooError
from memzoo.zoo.entry import Entry, File
from memzoo.zoo.hub import client
from memzoo.zoo.registry import check_file, refuse_pickles, registry_of, store


class Source(Protocol):
    """A place to look for files."""

    def get(self, name: str) -> Path | None:
        """The file, None where this place does not have it."""

    def renew(self, name: str) -> Path | None:
        """The file once more, in the place of a damaged one; None where that cannot be done."""


@dataclass(frozen=True)
class Folder:
    """A folder that memzoo only reads."""

    path: Path

    def get(self, name: str) -> Path | None:
        """The file, if it is there."""
        return self.path / name if (self.path / name).is_file() else None

    def renew(self, name: str) -> Path | None:
        """Never: the file belongs to whoever put it there."""
        return None

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Repository:
    """A commit of a repository on the Hub, through the client's cache."""

    name: str
    commit: str

    def get(self, name: str) -> Path | None:
        """The file, fetched if it is not cached."""
        return client.fetch(self.name, self.commit, name)

    def renew(self, name: str) -> Path | None:
        """Fetched again."""
        damaged = client.cached(self.name, self.commit, name)
        if damaged is not None and not os.access(damaged.resolve().parent, os.W_OK):
            return None
        return client.fetch(self.name, self.commit, name, force=True)

    def __str__(self) -> str:
        return f"{self.name}@{client.short(self.commit)} on the Hub"


def sources_of(entry: Entry) -> list[Source]:
    """The places of a registered checkpoint, in their order: installed, downloaded, on the Hub."""
    folders: list[Source] = [
        Folder(registry_of(entry.id).parent / "checkpoints" / entry.id),
        Folder(store() / "checkpoints" / entry.id),
    ]
    return folders + ([Repository(entry.hub.repository, entry.hub.commit)] if entry.hub else [])


def make_missing_error(entry: Entry) -> CheckpointMissingError:
    """Say of a registered checkpoint where its files could lie, and how to get them to one of these places."""
    beside, downloaded = (source for source in sources_of(entry) if isinstance(source, Folder))
    variable = "MEMZOO_DIR" if os.environ.get("MEMZOO_DIR") else "MEMZOO_DIR, which is not set"
    return CheckpointMissingError(
        f"the files of {entry.id} are in none of the three places of a checkpoint: beside its registry (no folder "
        f"{beside}; an installed package carries only the small ones, a clone of the repository all), in {variable} "
        f"(no folder {downloaded}), on the Hub (its entry names no repository there). Set MEMZOO_DIR to a clone of the "
        f"repository, or to a folder that `memzoo download {entry.id} --to DIR` filled on a machine that has them; or "
        f"train them with `memzoo train {entry.id}`."
    )


def find(sources: Sequence[Source], name: str, wanted: File | None, *, trust: bool = True) -> Path:
    """A file from the first place that has it, checked against what the registry says of it.

    A damaged file of the Hub's cache is fetched again, once.

    Args:
        sources: Places, in order.
        name: File.
        wanted: Its size and hash, None where nothing is known of it.
        trust: See :func:`memzoo.zoo.registry.files.check_file`.

    Raises:
        CheckpointMissingError: No place has it.
        CorruptCheckpointError: The first place that has it has another content.
    """
    for source in sources:
        path = source.get(name)
        if path is None:
            if isinstance(source, Folder):
                refuse_pickles(source.path)
            continue
        if wanted is None:
            return path
        try:
            path = _check_patiently(source, path, wanted, trust=trust)
        except CorruptCheckpointError as error:
            path = _renewed(source, name, error)
            try:
                check_file(path, wanted, trust=False)
            except CorruptCheckpointError as twice:
                raise CorruptCheckpointError(
                    f"{twice} It was fetched again from {source} and came the same: what lies there is not what was "
                    "published. `memzoo verify --hub` compares the two; tell the maintainers of the repository."
                ) from twice
        return path
    raise CheckpointMissingError(
        f"{name} is missing; looked in {', '.join(map(str, sources))}. A checkpoint is loaded whole: restore the "
        "file, or get the folder again."
    )


def _check_patiently(source: Source, path: Path, wanted: File, *, trust: bool) -> Path:
    """Check a file of ``source``, and return where it is.

    The Hub's client removes its link to a file for a moment while another process fetches the file again. A file that
    is missing in a repository is therefore looked for three times more.
    """
    for pause in (0.1, 0.5, 2.0):
        try:
            check_file(path, wanted, trust=trust)
        except (CheckpointMissingError, FileNotFoundError):
            if isinstance(source, Folder):
                raise
            time.sleep(pause)
            path = source.get(path.name) or path
        else:
            return path
    check_file(path, wanted, trust=trust)
    return path


def _renewed(source: Source, name: str, error: CorruptCheckpointError) -> Path:
    """The file fetched again, or the first error with why it could not be."""
    if isinstance(source, Folder):
        raise error
    warnings.warn(f"{error} It is fetched again from {source}.", stacklevel=2)
    try:
        again = source.renew(name)
    except MemzooError as failed:
        raise CorruptCheckpointError(f"{error} Fetching it again failed: {failed}") from failed
    if again is None:
        raise CorruptCheckpointError(f"{error} The cache that holds it is read-only: its owner must delete it.")
    return again
