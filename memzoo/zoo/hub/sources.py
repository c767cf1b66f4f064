"""Find the files of a checkpoint in the places where they may lie: folders on this machine, and the Hub."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from memzoo._reading import is_file
from memzoo._user_warning import warn_user
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, MemzooError
from memzoo.zoo.entry import Entry, File
from memzoo.zoo.hub import client
from memzoo.zoo.registry import check_file, find_registry, refuse_pickles

PAUSES_S = (0.1, 0.5, 2.0)
"""How long to wait for a file that another process is fetching again."""


def own_folder() -> Path:
    """Return memzoo's own folder: ``MEMZOO_DIR``, else ``memzoo`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    It holds ``checkpoints/ID/``, as ``memzoo download --to`` writes them.
    """
    given = os.environ.get("MEMZOO_DIR")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "memzoo"


class Source(Protocol):
    """A place where files may lie."""

    def get(self, name: str) -> Path | None:
        """Return the path of a file, or None if this place does not have it."""

    def renew(self, name: str) -> Path | None:
        """Fetch a damaged file again, and return its path; None if this place cannot do that."""


@dataclass(frozen=True)
class Folder:
    """A folder that memzoo only reads."""

    path: Path

    def get(self, name: str) -> Path | None:
        """Return the path of a file, or None if it is not there."""
        path = self.path / name
        return path if is_file(path) else None

    def renew(self, name: str) -> Path | None:
        """Return None: the file belongs to whoever put it there."""
        return None

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Repository:
    """A commit of a repository on the Hub, read through the client's cache."""

    name: str
    commit: str

    def get(self, name: str) -> Path | None:
        """Return the path of a file in the cache, after fetching it where needed."""
        return client.fetch(self.name, self.commit, name)

    def renew(self, name: str) -> Path | None:
        """Fetch a damaged file again, unless the cache is read-only."""
        # The client writes the new file into the folder of the damaged one.
        damaged = client.find_cached(self.name, self.commit, name)
        if damaged is not None and not os.access(damaged.resolve().parent, os.W_OK):
            return None
        return client.fetch(self.name, self.commit, name, force=True)

    def __str__(self) -> str:
        return f"{self.name}@{client.shorten(self.commit)} on the Hub"


def list_sources(entry: Entry) -> list[Source]:
    """List the places of a registered checkpoint in their order: installed, downloaded, on the Hub."""
    sources: list[Source] = [
        Folder(find_registry(entry.id).parent / "checkpoints" / entry.id),
        Folder(own_folder() / "checkpoints" / entry.id),
    ]
    if entry.hub is not None:
        sources.append(Repository(entry.hub.repository, entry.hub.commit))
    return sources


def make_missing_error(entry: Entry) -> CheckpointMissingError:
    """Say where the files of a registered checkpoint could lie, and how to get them to one of these places."""
    beside, downloaded = (source for source in list_sources(entry) if isinstance(source, Folder))
    variable = "MEMZOO_DIR" if os.environ.get("MEMZOO_DIR") else "MEMZOO_DIR, which is not set"
    return CheckpointMissingError(
        f"the files of {entry.id} are in none of the three places of a checkpoint: beside its registry (no folder "
        f"{beside}; an installed package carries only the small ones, a clone of the repository all), in {variable} "
        f"(no folder {downloaded}), on the Hub (its entry names no repository there). Set MEMZOO_DIR to a clone of the "
        f"repository, or to a folder that `memzoo download {entry.id} --to DIR` filled on a machine that has them; or "
        f"train them with `memzoo train {entry.id}`."
    )


def find_file(sources: Sequence[Source], name: str, wanted: File | None) -> Path:
    """Find a file in the first place that has it, and check it against the registry.

    A damaged file of the Hub's cache is fetched again, once.

    Args:
        sources: Places, in order.
        name: File.
        wanted: Its size and hash, or None if nothing is known of it.

    Raises:
        CheckpointMissingError: No place has it.
        CorruptCheckpointError: The first place that has it has another content.
    """
    for source in sources:
        path = source.get(name)
        if path is not None:
            # A damaged file is an error although another place may have it: its owner should learn of it.
            return path if wanted is None else _check_or_renew(source, path, wanted)
        if isinstance(source, Folder):
            refuse_pickles(source.path)
    raise CheckpointMissingError(
        f"{name} is missing; looked in {', '.join(map(str, sources))}. A checkpoint is loaded whole: restore the "
        "file, or get the folder again."
    )


def _check_or_renew(source: Source, path: Path, wanted: File) -> Path:
    """Check a file of ``source``, fetch it again if it is damaged, and return its path."""
    try:
        return _check_patiently(source, path, wanted)
    except CorruptCheckpointError as error:
        renewed = _renew(source, path.name, error)
    try:
        check_file(renewed, wanted)
    except CorruptCheckpointError as error:
        raise CorruptCheckpointError(
            f"{error} It was fetched again from {source} and came the same: what lies there is not what was "
            "published. `memzoo verify --hub` compares the two; tell the maintainers of the repository."
        ) from error
    return renewed


def _check_patiently(source: Source, path: Path, wanted: File) -> Path:
    """Check a file of ``source``, and return its path.

    Where another process fetches a file again, the client removes it from its cache for a moment.
    """
    for pause in PAUSES_S:
        try:
            check_file(path, wanted)
        except (CheckpointMissingError, FileNotFoundError):
            if isinstance(source, Folder):
                raise
            time.sleep(pause)
            path = source.get(path.name) or path
        else:
            return path
    check_file(path, wanted)
    return path


def _renew(source: Source, name: str, error: CorruptCheckpointError) -> Path:
    """Fetch a damaged file again, or raise its error together with why that failed."""
    if isinstance(source, Folder):
        raise error
    warn_user(f"{error} It is fetched again from {source}.")
    try:
        renewed = source.renew(name)
    except MemzooError as failure:
        raise CorruptCheckpointError(f"{error} Fetching it again failed: {failure}") from failure
    if renewed is None:
        raise CorruptCheckpointError(f"{error} The cache that holds it is read-only: its owner must delete it.")
    return renewed
