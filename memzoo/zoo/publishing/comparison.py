"""Compare the registry with the Hub."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from memzoo.errors import MemzooError
from memzoo.zoo.entry import Entry
from memzoo.zoo.hub import client
from memzoo.zoo.publishing.publication import IGNORED, is_content
from memzoo.zoo.registry import CARD, ENTRY, PICTURES, registry, require_entry

Kind = Literal["missing", "extra", "changed", "moved", "unpublished"]
OWN = {CARD, ENTRY, *PICTURES}


@dataclass(frozen=True)
class Difference:
    """One thing in which registry and Hub differ."""

    kind: Kind
    """``missing``: the registry has it, the Hub not; ``extra``: the other way round; ``changed``: another content;
    ``moved``: the main branch is at another commit than the one that the registry pins; ``unpublished``: the registry
    names no repository."""
    what: str

    @property
    def fails(self) -> bool:
        """Something that the registry promises is not there: what is not yet published, or newer, is no failure."""
        return self.kind in ("missing", "changed")

    def __str__(self) -> str:
        return f"{self.kind:<11} {self.what}"


def compare_with_hub(id: str) -> tuple[Difference, ...]:
    """Differences between the entry of a checkpoint and its repository, at the commit that the entry pins.

    Raises:
        HubUnreachableError: No answer.
    """
    entry = require_entry(id)
    if entry.hub is None:
        return (Difference("unpublished", f"{entry.id} is not on the Hub"),)
    repository, commit = entry.hub.repository, entry.hub.commit
    where = f"{repository}@{client.short(commit)}"
    try:
        remote = {file.path: file for file in client.tree(repository, commit)}
    except (FileNotFoundError, PermissionError) as error:
        if not isinstance(error, MemzooError):
            raise
        return (Difference("missing", f"{where}: {error}"),)
    found = [*_files(entry, remote, where)]
    head = client.head(repository)
    if head != commit:
        found.append(
            Difference("moved", f"{repository} is at {client.short(head or 'nothing')}, not at {client.short(commit)}")
        )
    return tuple(found)


def _files(entry: Entry, remote: dict[str, client.RemoteFile], where: str) -> list[Difference]:
    """File by file, by size and hash."""
    found = []
    for name, wanted in entry.files.items():
        there = remote.get(name)
        if there is None:
            found.append(Difference("missing", f"{name} of {where}"))
        elif there.sha256 not in (None, wanted.sha256) or there.size != wanted.bytes:
            found.append(Difference("changed", f"{name} of {where}: {there.size} bytes, SHA-256 {there.sha256}"))
        elif there.sha256 is None and not _same_small(entry, name, there):
            found.append(Difference("changed", f"{name} of {where}: {there.size} bytes, another content"))
    strange = sorted(remote.keys() - entry.files.keys() - OWN - IGNORED)
    return found + [Difference("extra", f"{name} of {where}") for name in strange]


def _same_small(entry: Entry, name: str, there: client.RemoteFile) -> bool:
    """A file that git holds: its content is fetched and hashed, since the registry knows no git hashes."""
    assert entry.hub is not None
    content = client.fetch(entry.hub.repository, entry.hub.commit, name).read_bytes()
    if not is_content(there, content):  # damaged in the cache
        content = client.fetch(entry.hub.repository, entry.hub.commit, name, force=True).read_bytes()
    return is_content(there, content) and hashlib.sha256(content).hexdigest() == entry.files[name].sha256


def extra_repositories(namespaces: set[str]) -> tuple[Difference, ...]:
    """Repositories of these users or organisations that no entry names."""
    named = {entry.hub.repository for entry in registry().values() if entry.hub is not None}
    return tuple(
        Difference("extra", f"{repository} is in no registry")
        for namespace in sorted(namespaces)
        for repository in sorted(client.repositories(namespace))
        if repository not in named
    )
