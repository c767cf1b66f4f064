"""The Hugging Face Hub through its own client: the calls that the zoo makes, patient, with errors that say what to do.

The client reads ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and the other variables of its own when it is first used.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from memzoo._version import __version__
from memzoo.errors import CheckpointMissingError, HubUnreachableError
from memzoo.zoo.hub.errors import explained, is_transient
from memzoo.zoo.registry import is_commit

T = TypeVar("T")

PATIENCE_S, FIRST_WAIT_S = 15.0, 0.5
"""Time after which nothing is tried again, and the first wait; each is twice the one before."""


class RemoteFile(NamedTuple):
    """A file of a repository as the Hub lists it."""

    path: str
    size: int
    sha256: str | None
    """Of large files; None for those that git holds."""
    blob: str
    """git's id of the blob: SHA-1 over its length and content."""


def fetch(repository: str, revision: str, name: str, *, force: bool = False) -> Path:
    """A file of a repository in the client's cache; a full commit that is cached needs no network.

    Args:
        repository: ``org/name``.
        revision: Commit, tag or branch.
        name: File.
        force: Download it again, in the place of a damaged one.

    Raises:
        CheckpointMissingError: The repository, the revision or the file is not there.
        HubAccessError: Private, and no token or one that may not read it.
        HubUnreachableError: No answer, and not cached.
        StorageError: The cache is full or read-only.
    """
    from huggingface_hub import hf_hub_download

    def get() -> Path:
        return Path(
            hf_hub_download(
                repository,
                name,
                revision=revision,
                force_download=force,
                library_name="memzoo",
                library_version=__version__,
            )
        )

    return patiently(get, f"{name} of {repository}@{short(revision)}")


def cached(repository: str, commit: str, name: str) -> Path | None:
    """The file in the client's cache, without asking the Hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name, revision=commit)
    return Path(found) if isinstance(found, str) else None


def known_absent(repository: str, commit: str, name: str) -> bool:
    """The Hub has said that this commit has no such file, and the client remembers."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repository, name, revision=commit) is _CACHED_NO_EXIST


def resolve(repository: str, revision: str, name: str) -> str:
    """The full commit of a revision: asks the Hub, or without network remembers the last answer; fetches ``name``."""
    return fetch(repository, revision, name).absolute().parent.name


def tree(repository: str, revision: str) -> list[RemoteFile]:
    """All files of a revision."""
    from huggingface_hub.hf_api import RepoFile

    def get() -> list[RemoteFile]:
        entries = list(api().list_repo_tree(repository, recursive=True, revision=revision))
        return [
            RemoteFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        ]

    return patiently(get, f"the files of {repository}@{short(revision)}")


def head(repository: str) -> str | None:
    """The commit of the main branch; None where there is no such repository."""

    def get() -> str | None:
        return api().model_info(repository, revision="main").sha

    try:
        return patiently(get, repository)
    except CheckpointMissingError:
        return None


def tags(repository: str) -> dict[str, str]:
    """Commit of each tag."""

    def get() -> dict[str, str]:
        return {tag.name: tag.target_commit for tag in api().list_repo_refs(repository).tags}

    return patiently(get, f"the tags of {repository}")


def repositories(namespace: str) -> list[str]:
    """Model repositories of a user or organisation that can be seen."""

    def get() -> list[str]:
        return [model.id for model in api().list_models(author=namespace)]

    return patiently(get, f"the repositories of {namespace}")


def api() -> Any:
    """The client."""
    from huggingface_hub import HfApi

    return HfApi(library_name="memzoo", library_version=__version__)


def short(revision: str) -> str:
    """A commit by its first digits."""
    return revision[:8] if is_commit(revision) else revision


def patiently(call: Callable[[], T], what: str) -> T:
    """The result of ``call``, tried again while the Hub says that it is busy or drops the line."""
    started, wait, outer = time.monotonic(), FIRST_WAIT_S, sys.exc_info()[1]
    while True:
        try:
            with explained(what):
                return call()
        except HubUnreachableError as error:
            again = error.__cause__ is not None and is_transient(error.__cause__, outer)
            if not again or time.monotonic() - started + wait > PATIENCE_S:
                raise
        time.sleep(wait)
        wait *= 2
