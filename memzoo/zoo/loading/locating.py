"""Locate a checkpoint by any of its names: what is known of it, and the places where its files lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memzoo._reading import is_file, read_content
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError
from memzoo.zoo.entry import CONFIG, Entry, File
from memzoo.zoo.hub import Folder, Repository, Source, client, find_file, list_sources, make_missing_error
from memzoo.zoo.registry import (
    ENTRY,
    ById,
    InFolder,
    OnHub,
    check_entry,
    is_commit,
    parse_reference,
    parse_registry,
    registry,
    require_entry,
)


@dataclass(frozen=True)
class LocatedCheckpoint:
    """A checkpoint that was found: what is known of it, and where its files lie."""

    name: str
    entry: Entry | None
    sources: Sequence[Source] = field(default_factory=list)
    recorded: Mapping[str, File] = field(default_factory=dict)
    """Sizes and hashes that its own configuration records, where there is no entry."""

    def find_file(self, name: str) -> Path:
        """Find one of its files, checked against its entry, else against what its configuration records."""
        if self.entry is None and not self.recorded:
            return find_file(self.sources, name, None)
        files = self.recorded if self.entry is None else self.entry.files
        if name not in files:
            whose = f"{self.name}: its {CONFIG}" if self.entry is None else f"the registry entry {self.entry.id}"
            raise CorruptCheckpointError(f"{whose} names no hash for {name}; add it.")
        return find_file(self.sources, name, files[name])


def locate(name: str) -> LocatedCheckpoint:
    """Find a checkpoint by any of its names."""
    reference = parse_reference(name)
    match reference:
        case InFolder(path):
            _check_folder(path)
            entry = read_entry(path / ENTRY) if is_file(path / ENTRY) else None
            return LocatedCheckpoint(name, entry, [Folder(path)])
        case OnHub(repository, revision):
            published = [entry for entry in registry().values() if entry.hub]
            return _locate_on_hub(name, repository, revision, published)
        case ById(id, revision):
            return _locate_by_id(name, require_entry(id), revision)


def _check_folder(folder: Path) -> None:
    """Raise if there is no such folder."""
    if not folder.is_dir():
        raise CheckpointMissingError(f"no such folder (looked in {folder}); give the folder that holds {CONFIG}.")


def _locate_by_id(name: str, entry: Entry, revision: str | None) -> LocatedCheckpoint:
    """Find a checkpoint of a registry where its entry says that it lies, or at another revision of its repository."""
    if revision is not None:
        if entry.hub is None:
            raise CheckpointMissingError(
                f"{name}: {entry.id} is not on the Hub, so it has no revisions; load {entry.id!r} without one."
            )
        return _locate_on_hub(name, entry.hub.repository, revision, [entry])
    if not entry.files or entry.fingerprint is None:
        raise CheckpointMissingError(
            f"{entry.id} has a recipe but no weights yet; train it with `memzoo train {entry.id}`."
        )
    sources = list_sources(entry)
    if not any(not isinstance(source, Folder) or source.path.is_dir() for source in sources):
        raise make_missing_error(entry)
    return LocatedCheckpoint(name, entry, sources)


def _locate_on_hub(name: str, repository: str, revision: str, published: list[Entry]) -> LocatedCheckpoint:
    """Find a commit on the Hub, with the registry's entry where that pins the same commit, else with its own entry."""
    commit = revision if is_commit(revision) else client.resolve(repository, revision, CONFIG)
    for entry in published:
        if entry.hub is not None and (entry.hub.repository, entry.hub.commit) == (repository, commit):
            return LocatedCheckpoint(name, require_entry(entry.id), list_sources(entry))
    client.fetch(repository, commit, CONFIG)  # its error says whether the repository or the commit is missing
    entry = None if _has_no_entry(repository, commit) else read_entry(client.fetch(repository, commit, ENTRY))
    return LocatedCheckpoint(name, entry, [Repository(repository, commit)])


def _has_no_entry(repository: str, commit: str) -> bool:
    """Tell whether the Hub said, now or before, that a commit holds weights without an entry.

    Configuration and fingerprint alone speak for such weights.
    """
    if client.is_known_absent(repository, commit, ENTRY):
        return True
    try:
        client.fetch(repository, commit, ENTRY)
    except CheckpointMissingError:
        return True
    return False


def is_available(name: str) -> bool:
    """Tell whether there is a place to load a checkpoint from; a Hub that cannot be reached counts as one."""
    try:
        locate(name)
    except CheckpointMissingError:
        return False
    return True


def read_entry(path: Path) -> Entry:
    """Read the one entry of an ``entry.yaml``."""
    content = read_content(path).decode("utf-8", errors="replace")
    entries = list(parse_registry(content, path, aliases=False).values())
    if len(entries) != 1 or entries[0].fingerprint is None:
        raise CorruptCheckpointError(f"{path} must hold one complete entry, got {len(entries)}.")
    return check_entry(entries[0], path)
