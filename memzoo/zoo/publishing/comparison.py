"""Compare the registry with the Hub: are the published files those that the registry names?"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from memzoo.errors import MemzooError
from memzoo.zoo.entry import Entry
from memzoo.zoo.hub import client
from memzoo.zoo.publishing.publication import IGNORED, has_content
from memzoo.zoo.registry import CARD, ENTRY, PICTURES, registry, require_entry

Kind = Literal["missing", "extra", "changed", "moved", "unpublished"]
WITHOUT_HASH = {CARD, ENTRY, *PICTURES}  # memzoo writes these, and the registry does not name them


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
        """Tell whether something that the registry promises is not there; unpublished or newer is no failure."""
        return self.kind in ("missing", "changed")

    def __str__(self) -> str:
        return f"{self.kind:<11} {self.what}"


def compare_with_hub(id: str) -> tuple[Difference, ...]:
    """Compare the entry of a checkpoint with its repository, at the commit that the entry pins.

    Raises:
        HubUnreachableError: No answer.
    """
    entry = require_entry(id)
    if entry.hub is None:
        return (Difference("unpublished", f"{entry.id} is not on the Hub"),)
    repository = entry.hub.repository
    commit = entry.hub.commit
    place = f"{repository}@{client.shorten(commit)}"
    try:
        remote = {file.path: file for file in client.list_files(repository, commit)}
    except (FileNotFoundError, PermissionError) as error:
        if not isinstance(error, MemzooError):
            raise
        return (Difference("missing", f"{place}: {error}"),)
    found = _compare_files(entry, remote, place)
    head = client.find_head(repository)
    if head != commit:
        what = f"{repository} is at {client.shorten(head or 'nothing')}, not at {client.shorten(commit)}"
        found.append(Difference("moved", what))
    return tuple(found)


def _compare_files(entry: Entry, remote: dict[str, client.RemoteFile], place: str) -> list[Difference]:
    """Compare file by file, by size and hash."""
    found = []
    for name, wanted in entry.files.items():
        file = remote.get(name)
        if file is None:
            found.append(Difference("missing", f"{name} of {place}"))
        elif file.sha256 not in (None, wanted.sha256) or file.size != wanted.bytes:
            found.append(Difference("changed", f"{name} of {place}: {file.size} bytes, SHA-256 {file.sha256}"))
        elif file.sha256 is None and not _has_registered_content(entry, name, file):
            found.append(Difference("changed", f"{name} of {place}: {file.size} bytes, another content"))
    extra = sorted(remote.keys() - entry.files.keys() - WITHOUT_HASH - IGNORED)
    return found + [Difference("extra", f"{name} of {place}") for name in extra]


def _has_registered_content(entry: Entry, name: str, file: client.RemoteFile) -> bool:
    """Tell whether a small file, which git holds, has the content that the registry names.

    The content is fetched and hashed, since the Hub gives a git hash of it, and the registry a SHA-256.
    """
    assert entry.hub is not None
    content = client.fetch(entry.hub.repository, entry.hub.commit, name).read_bytes()
    if not has_content(file, content):  # damaged in the cache
        content = client.fetch(entry.hub.repository, entry.hub.commit, name, force=True).read_bytes()
    return has_content(file, content) and hashlib.sha256(content).hexdigest() == entry.files[name].sha256


def extra_repositories(namespaces: set[str]) -> tuple[Difference, ...]:
    """List the repositories of these users or organisations that no entry names."""
    named = {entry.hub.repository for entry in registry().values() if entry.hub is not None}
    return tuple(
        Difference("extra", f"{repository} is in no registry")
        for namespace in sorted(namespaces)
        for repository in sorted(client.list_repositories(namespace))
        if repository not in named
    )
