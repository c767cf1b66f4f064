"""Publish a checkpoint to the Hub: verified first, one commit, a tag, and the entry that pins it."""

import difflib
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from memzoo.errors import PublishError, UnknownCheckpointError
from memzoo.zoo.cards import card, is_ours
from memzoo.zoo.entry import CONFIG, WEIGHTS, Entry, Published
from memzoo.zoo.hub import Folder, client
from memzoo.zoo.loading import Located, entry_in, locate
from memzoo.zoo.registry import (
    CARD,
    ENTRY,
    PICTURES,
    check_replaceable,
    check_repository,
    entry_yaml,
    object_to_denial,
    replace_entry,
)
from memzoo.zoo.verification import Verification, verify

IGNORED = {".gitattributes"}  # the Hub's own


class Change(NamedTuple):
    """What publishing does, or would do, to one file of the repository."""

    name: str
    kind: Literal["new", "changed", "same", "kept", "not ours"]
    """``kept``: a card that somebody edited; ``not ours``: a file that memzoo did not put there and leaves alone."""
    before: int | None
    after: int | None
    """Bytes."""

    def __str__(self) -> str:
        sizes = " -> ".join("-" if size is None else f"{size:,}" for size in (self.before, self.after))
        return f"{self.kind:<9} {self.name:<24} {sizes} bytes"


@dataclass(frozen=True)
class Publication:
    """What was published, or would be."""

    entry: Entry
    """With repository and commit, once there is one."""
    repository: str
    commit: str | None
    """Full, of the main branch afterwards; None after a dry run of a repository that does not exist."""
    tag: str | None
    changes: tuple[Change, ...]
    card_diff: str
    """The card's lines that change, as ``diff -u`` prints them."""
    dry_run: bool
    committed: bool
    """False where nothing had changed, and after a dry run."""
    verification: Verification | None = field(repr=False, default=None)

    @property
    def yaml(self) -> str:
        """The block for the registry."""
        return entry_yaml(self.entry)

    def __str__(self) -> str:
        if self.dry_run:
            what = f"would be published to {self.repository}"
        elif self.committed:
            what = f"published to {self.repository}, commit {self.commit}, tag {self.tag}"
        else:
            what = f"is published in {self.repository} as it is: nothing changed, commit {self.commit}, tag {self.tag}"
        lines = [f"{self.entry.id} {what}", *(f"  {change}" for change in self.changes)]
        if any(change.kind == "kept" for change in self.changes):
            lines.append(f"  {CARD} was edited by hand and is kept; --overwrite-card replaces it.")
        return "\n".join([*lines, *(f"  {line}" for line in self.card_diff.splitlines())])


def publish(
    name: str,
    repository: str,
    *,
    dry_run: bool = False,
    private: bool = False,
    overwrite_card: bool = False,
    record: str | Path | None = None,
) -> Publication:
    """Publish a checkpoint to a repository of the Hub, in one commit.

    Every fact is recomputed first. The card is written from the entry; one that somebody edited on the Hub is kept. The
    commit gets the next free tag ``v1``, ``v2``, ...; where nothing changed there is no new commit. Whenever the upload
    is interrupted, the repository is what it was before.

    Args:
        name: Id of a registry, or ``"local-dir:PATH"`` as ``memzoo train`` writes it.
        repository: ``"org/name"``; made if it is not there. The token (``HF_TOKEN`` or ``hf auth login``) must be
            allowed to write there.
        dry_run: Change nothing, say what would change.
        private: Make a new repository private.
        overwrite_card: Replace a card that was edited by hand.
        record: Registry file to write the entry to, with repository and commit.

    Returns:
        The commit, the tag, what changed file by file, and the entry as YAML.

    Raises:
        PublishError: A fact failed; the images do not allow a licence; or somebody else committed at the same
            time.
        UnknownCheckpointError, CheckpointMissingError, CorruptCheckpointError: Nothing whole to publish.
        HubAccessError, HubUnreachableError: The Hub refuses, or does not answer; the repository is as it was.
    """
    check_repository(repository)
    found = locate(name)
    entry = _publishable(found, name)
    if record is not None:
        check_replaceable(entry.id, Path(record))
    verification = verify(name)
    if not verification.ok:
        raise PublishError(f"{entry.id} is not published, its facts do not hold:\n{verification}")
    files = _files(found, entry, repository)
    head = client.head(repository)
    remote = {file.path: file for file in client.tree(repository, head)} if head is not None else {}
    _check_owner(entry, repository, head, remote)
    edited, diff = _card(files, repository, head, remote, overwrite=overwrite_card)
    changes = tuple(_changes(files, remote, edited=edited))
    if dry_run:
        return Publication(entry, repository, head, None, changes, diff, True, False, verification)
    wanted = {change.name: files[change.name] for change in changes if change.kind in ("new", "changed")}
    commit, committed = head, bool(wanted)
    if wanted:
        commit = _commit(entry, repository, head, wanted, private=private)
    assert commit is not None
    tag = _tag(repository, commit)
    entry = entry.model_copy(update={"hub": Published(repository=repository, commit=commit, tag=tag)})
    if record is not None:
        replace_entry(entry, Path(record))
    return Publication(entry, repository, commit, tag, changes, diff, False, committed, verification)


def _check_owner(entry: Entry, repository: str, head: str | None, remote: dict[str, client.RemoteFile]) -> None:
    """Raise where the repository holds a model that is not this checkpoint."""
    if head is None or not {WEIGHTS, CONFIG} & remote.keys():
        return
    there = entry_in(client.fetch(repository, head, ENTRY)).id if ENTRY in remote else None
    if there != entry.id:
        other = f"the checkpoint {there!r}" if there else "a model that memzoo did not put there"
        raise PublishError(
            f"{repository} holds {other}, which {entry.id!r} does not replace; give another repository, or delete the "
            "files there first."
        )


def _publishable(found: Located, name: str) -> Entry:
    """The entry of a checkpoint that is complete, under licences that its images allow."""
    entry = found.entry
    if entry is None:
        raise UnknownCheckpointError(
            f"{name} has no entry, so that nobody could tell what it is; publish an id of a registry, or a folder that "
            f"`memzoo train` wrote, with its {ENTRY}."
        )
    unmeasured = [fact.name for fact in entry.facts if fact.ours is None]
    if unmeasured or not entry.facts:
        raise PublishError(
            f"{entry.id} is not published: {', '.join(unmeasured) or 'no fact'} has a recorded value; train it with "
            f"`memzoo train {entry.id}`, which measures them."
        )
    objections = [*entry.license_objections(), *object_to_denial(entry)]
    if objections:
        raise PublishError(f"{entry.id} is not published, its images do not allow it: {'; '.join(objections)}.")
    return entry


def _files(found: Located, entry: Entry, repository: str) -> dict[str, bytes]:
    """All files of the repository-to-be: those that are hashed, the pictures, entry and card."""
    paths = {name: found.file(name, trust=False) for name in sorted(entry.files)}
    folders = [paths[WEIGHTS].parent, *(source.path for source in found.sources if isinstance(source, Folder))]
    beside = next((folder for folder in folders if any((folder / name).is_file() for name in PICTURES)), None)
    if beside is not None:
        paths |= {name: beside / name for name in PICTURES if (beside / name).is_file()}
    files = {name: path.read_bytes() for name, path in paths.items()}
    files[ENTRY] = entry_yaml(entry.model_copy(update={"hub": None})).encode()
    files[CARD] = card(entry, beside, repository=repository).encode()
    return files


def _card(
    files: dict[str, bytes], repository: str, head: str | None, remote: dict[str, client.RemoteFile], *, overwrite: bool
) -> tuple[bool, str]:
    """Whether the card on the Hub was edited and stays, and the lines that change."""
    old = ""
    if head is not None and CARD in remote:
        old = client.fetch(repository, head, CARD).read_text(encoding="utf-8", errors="replace")
    new = files[CARD].decode()
    edited = bool(old) and not is_ours(old) and not overwrite
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "on the Hub", "from the entry", n=1, lineterm="")
    return edited, "\n".join(lines) if old else ""


def _changes(files: dict[str, bytes], remote: dict[str, client.RemoteFile], *, edited: bool) -> list[Change]:
    """File by file."""
    changes = []
    for name, content in files.items():
        there = remote.get(name)
        if there is None:
            kind = "new"
        elif name == CARD and edited:
            kind = "kept"
        else:
            kind = "same" if is_content(there, content) else "changed"
        changes.append(Change(name, kind, None if there is None else there.size, len(content)))
    strange = sorted(remote.keys() - files.keys() - IGNORED)
    return changes + [Change(name, "not ours", remote[name].size, remote[name].size) for name in strange]


def is_content(file: client.RemoteFile, content: bytes) -> bool:
    """The Hub's file has this content: by SHA-256 where it is large, else by git's own hash."""
    if file.sha256 is not None:
        return file.sha256 == hashlib.sha256(content).hexdigest()
    return file.blob == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _commit(entry: Entry, repository: str, head: str | None, files: dict[str, bytes], *, private: bool) -> str:
    """Upload, in one commit on top of ``head``; the branch moves when all is there."""
    from huggingface_hub import CommitOperationAdd

    api = client.api()
    if head is None:
        client.patiently(
            lambda: api.create_repo(repository, private=private, exist_ok=True),
            f"making the repository {repository}",
        )
        head = client.head(repository)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]

    def send() -> str:
        made = api.create_commit(
            repository,
            operations,
            commit_message=f"{entry.id}: {', '.join(files)}",
            commit_description=f"Published by memzoo {client.__version__}.",
            parent_commit=head,
        )
        return str(made.oid)

    try:
        return client.patiently(send, f"publishing {entry.id} to {repository}")
    except PublishError:
        now = client.head(repository)
        there = {file.path: file for file in client.tree(repository, now)} if now is not None else {}
        if now is None or not all(
            name in there and is_content(there[name], content) for name, content in files.items()
        ):
            raise
        return now  # the commit was made, and only its answer was lost


def _tag(repository: str, commit: str) -> str:
    """The version tag of a commit; the next free one where it has none."""
    own, free = _version_tags(repository, commit)
    if own is not None:
        return own
    try:
        client.patiently(lambda: client.api().create_tag(repository, tag=free, revision=commit), f"the tag {free}")
    except PublishError:
        own, _ = _version_tags(repository, commit)
        if own is None:  # somebody else took the name
            raise
        return own  # it was made, and only the answer was lost
    return free


def _version_tags(repository: str, commit: str) -> tuple[str | None, str]:
    """The newest tag ``v1``, ``v2``, ... of a commit, and the next that is free."""
    tags = {int(name[1:]): at for name, at in client.tags(repository).items() if re.fullmatch(r"v[0-9]+", name)}
    own = max((number for number, at in tags.items() if at == commit), default=None)
    return None if own is None else f"v{own}", f"v{max(tags, default=0) + 1}"
