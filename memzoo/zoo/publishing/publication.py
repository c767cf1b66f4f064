"""Publish a checkpoint to the Hub: it is verified, committed at once, tagged, and pinned by its entry.

A commit on the Hub is all or nothing, so that an interrupted upload leaves the repository as it was. Where an answer of
the Hub was lost, the repository is read again before that counts as a failure.
"""

import difflib
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from memzoo.errors import PublishError, UnknownCheckpointError
from memzoo.zoo.cards import is_ours, render_card
from memzoo.zoo.entry import CONFIG, WEIGHTS, Entry, Published
from memzoo.zoo.hub import Folder, client
from memzoo.zoo.loading import LocatedCheckpoint, locate, read_entry
from memzoo.zoo.publishing.content import read_file, read_picture, refuse_links
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
COMMIT_S = 90.0  # that the Hub may take to store a commit
UPLOAD_RATE = 10_000  # bytes a second of the slowest line


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
    """False if nothing had changed, and after a dry run."""
    verification: Verification | None = field(repr=False, default=None)

    @property
    def yaml(self) -> str:
        """Return the block for the registry."""
        return entry_yaml(self.entry)

    def __str__(self) -> str:
        if self.dry_run:
            what = f"would be published to {self.repository}"
        elif self.committed:
            what = f"published to {self.repository}, commit {self.commit}, tag {self.tag}"
        else:
            what = f"is published in {self.repository} as it is: nothing changed, commit {self.commit}, tag {self.tag}"
        lines = [str(change) for change in self.changes]
        if any(change.kind == "kept" for change in self.changes):
            lines.append(f"{CARD} was edited by hand and is kept; --overwrite-card replaces it.")
        lines += self.card_diff.splitlines()
        return "\n".join([f"{self.entry.id} {what}", *(f"  {line}" for line in lines)])


def publish(
    name: str,
    repository: str,
    *,
    dry_run: bool = False,
    private: bool = False,
    overwrite_card: bool = False,
    record: str | Path | None = None,
    announce: Callable[[Publication], object] | None = None,
) -> Publication:
    """Publish a checkpoint to a repository of the Hub, in one commit.

    Every fact is recomputed first. What is sent are the files of the entry, its two pictures, the entry and the card,
    and of each file the content whose hash was checked; a link in the place of a file is refused. The card is written
    from the entry; one that somebody edited on the Hub is kept. The commit gets the next free tag ``v1``, ``v2``, ...;
    if nothing changed there is no new commit. Whenever the upload is interrupted, the repository is what it was before.

    Args:
        name: Id of a registry, or ``"local-dir:PATH"`` as ``memzoo train`` writes it.
        repository: ``"org/name"``; made if it is not there. The token (``HF_TOKEN`` or ``hf auth login``) must be
            allowed to write there.
        dry_run: Change nothing, say what would change.
        private: Make a new repository private.
        overwrite_card: Replace a card that was edited by hand.
        record: Registry file to write the entry to, with repository and commit.
        announce: Called with what will be sent, as a dry run returns it, before anything is sent.

    Returns:
        The commit, the tag, what changed file by file, and the entry as YAML.

    Raises:
        PublishError: A fact failed; the images do not allow a licence; a file is a link, a device or no picture, or
            was changed meanwhile; or somebody else committed at the same time.
        UnknownCheckpointError, CheckpointMissingError, CorruptCheckpointError: Nothing whole to publish.
        HubAccessError, HubUnreachableError: The Hub refuses, or does not answer; the repository is as it was.
    """
    check_repository(repository)
    found = locate(name)
    entry = _require_publishable(found, name)
    if record is not None:
        check_replaceable(entry.id, Path(record))
    files = _collect_files(found, entry, repository)
    verification = verify(name)
    if not verification.ok:
        raise PublishError(f"{entry.id} is not published, its facts do not hold:\n{verification}")
    remote = _list_remote(repository)
    _check_owner(entry, remote)
    old_card = _fetch_card(remote)
    keep_card = bool(old_card) and not is_ours(old_card) and not overwrite_card
    changes = _list_changes(files, remote.files, keep_card=keep_card)
    card_diff = _compare_cards(old_card, files[CARD].decode())
    plan = Publication(entry, repository, remote.head, None, changes, card_diff, True, False, verification)
    if dry_run:
        return plan
    if announce is not None:
        announce(plan)

    changed = {change.name: files[change.name] for change in changes if change.kind in ("new", "changed")}
    commit = _commit(entry, remote, changed, private=private) if changed else remote.head
    assert commit is not None  # without a repository every file is new
    tag = _tag(repository, commit)
    entry = entry.model_copy(update={"hub": Published(repository=repository, commit=commit, tag=tag)})
    if record is not None:
        replace_entry(entry, Path(record))
    return replace(plan, entry=entry, commit=commit, tag=tag, dry_run=False, committed=bool(changed))


class Remote(NamedTuple):
    """A repository as it is on the Hub now."""

    repository: str
    head: str | None
    """Commit of the main branch; None if there is no such repository."""
    files: dict[str, client.RemoteFile]


def _list_remote(repository: str) -> Remote:
    """List what the main branch of a repository holds."""
    head = client.find_head(repository)
    files = client.list_files(repository, head) if head is not None else []
    return Remote(repository, head, {file.path: file for file in files})


# What can be published ------------------------------------------------------------------------------------------------


def _require_publishable(found: LocatedCheckpoint, name: str) -> Entry:
    """Return the entry of a checkpoint that is complete, under licences that its images allow, else raise."""
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


def _check_owner(entry: Entry, remote: Remote) -> None:
    """Raise if the repository holds a model that is not this checkpoint."""
    if remote.head is None or not {WEIGHTS, CONFIG} & remote.files.keys():
        return
    owner = read_entry(client.fetch(remote.repository, remote.head, ENTRY)).id if ENTRY in remote.files else None
    if owner != entry.id:
        other = f"the checkpoint {owner!r}" if owner else "a model that memzoo did not put there"
        raise PublishError(
            f"{remote.repository} holds {other}, which {entry.id!r} does not replace; give another repository, or "
            "delete the files there first."
        )


# What changes ---------------------------------------------------------------------------------------------------------


def _collect_files(found: LocatedCheckpoint, entry: Entry, repository: str) -> dict[str, bytes]:
    """Collect the content of all files of the repository: those that are hashed, the pictures, entry and card."""
    in_folders = [source.path for source in found.sources if isinstance(source, Folder)]
    for folder in in_folders:
        refuse_links(folder, [*entry.files, *PICTURES, ENTRY])
    files = {}
    places = {}
    for name in sorted(entry.files):
        path = found.find_file(name)
        # The client's cache is made of links.
        files[name] = read_file(path, entry.files[name], links=path.parent not in in_folders)
        places[name] = path.parent
    folders = [places[WEIGHTS], *in_folders]
    pictures_in = None
    for folder in folders:
        paths = [folder / name for name in PICTURES if os.path.lexists(folder / name)]
        pictures = {path.name: read_picture(path, links=folder not in in_folders) for path in paths}
        if pictures:
            files |= pictures
            pictures_in = folder
            break
    files[ENTRY] = entry_yaml(entry.model_copy(update={"hub": None})).encode()
    files[CARD] = render_card(entry, pictures_in, repository=repository).encode()
    return files


def _fetch_card(remote: Remote) -> str:
    """Fetch the card that is on the Hub; an empty text if there is none."""
    if remote.head is None or CARD not in remote.files:
        return ""
    return client.fetch(remote.repository, remote.head, CARD).read_text(encoding="utf-8", errors="replace")


def _compare_cards(old: str, new: str) -> str:
    """List the lines of the card that change, as ``diff -u`` does; none if there was no card."""
    if not old:
        return ""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "on the Hub", "from the entry", n=1, lineterm="")
    return "\n".join(lines)


def _list_changes(
    files: dict[str, bytes], remote: dict[str, client.RemoteFile], *, keep_card: bool
) -> tuple[Change, ...]:
    """List what publishing does to each file."""
    changes = []
    for name, content in files.items():
        file = remote.get(name)
        if file is None:
            changes.append(Change(name, "new", None, len(content)))
            continue
        kind = "same" if has_content(file, content) else "changed"
        if name == CARD and keep_card:
            kind = "kept"
        changes.append(Change(name, kind, file.size, len(content)))
    foreign = sorted(remote.keys() - files.keys() - IGNORED)
    changes += [Change(name, "not ours", remote[name].size, remote[name].size) for name in foreign]
    return tuple(changes)


def has_content(file: client.RemoteFile, content: bytes) -> bool:
    """Tell whether the Hub's file has this content: by SHA-256 if it is large, else by git's own hash."""
    if file.sha256 is not None:
        return file.sha256 == hashlib.sha256(content).hexdigest()
    git_object = b"blob %d\0" % len(content) + content
    return file.blob == hashlib.sha1(git_object, usedforsecurity=False).hexdigest()


# Commit and tag -------------------------------------------------------------------------------------------------------


def _commit(entry: Entry, remote: Remote, files: dict[str, bytes], *, private: bool) -> str:
    """Upload files in one commit on top of the head; the branch moves when all of them are there."""
    from huggingface_hub import CommitOperationAdd

    api = client.make_client()
    repository = remote.repository
    head = remote.head
    if head is None:
        client.call_patiently(
            lambda: api.create_repo(repository, private=private, exist_ok=True),
            f"making the repository {repository}",
        )
        head = client.find_head(repository)
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
        size = sum(map(len, files.values()))
        return client.call_patiently(
            send, f"publishing {entry.id} to {repository}", grace=COMMIT_S + size / UPLOAD_RATE
        )
    except PublishError:
        now = _list_remote(repository)
        arrived = all(name in now.files and has_content(now.files[name], content) for name, content in files.items())
        if now.head is None or not arrived:
            raise
        return now.head  # the commit was made, and only its answer was lost


def _tag(repository: str, commit: str) -> str:
    """Return the version tag of a commit; make the next free one if it has none."""
    tag, free = _find_version_tags(repository, commit)
    if tag is not None:
        return tag
    try:
        client.call_patiently(
            lambda: client.make_client().create_tag(repository, tag=free, revision=commit), f"the tag {free}"
        )
    except PublishError:
        tag, _ = _find_version_tags(repository, commit)
        if tag is None:  # somebody else took the name
            raise
        return tag  # the tag was made, and only the answer was lost
    return free


def _find_version_tags(repository: str, commit: str) -> tuple[str | None, str]:
    """Find the newest tag ``v1``, ``v2``, ... of a commit, and the next one that is free."""
    commits = {int(name[1:]): at for name, at in client.list_tags(repository).items() if re.fullmatch(r"v[0-9]+", name)}
    newest = max((number for number, at in commits.items() if at == commit), default=None)
    free = f"v{max(commits, default=0) + 1}"
    return None if newest is None else f"v{newest}", free
