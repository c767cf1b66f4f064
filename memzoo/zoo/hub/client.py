"""Call the Hugging Face Hub through its own client, patiently, with errors that say what to do.

The client reads ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and the other variables of its own when it is first used.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from memzoo._version import __version__
from memzoo.errors import CheckpointMissingError, HubUnreachableError
from memzoo.zoo.hub.errors import Failure, explain_errors, is_transient
from memzoo.zoo.hub.line import watch_call
from memzoo.zoo.registry import is_commit

T = TypeVar("T")

PATIENCE_S = 15.0
"""Time after which nothing is tried again."""
FIRST_WAIT_S = 0.5
"""Pause before the second try; each further pause is twice the one before."""


class RemoteFile(NamedTuple):
    """A file of a repository as the Hub lists it."""

    path: str
    size: int
    sha256: str | None
    """Of large files; None for those that git holds."""
    blob: str
    """git's id of the blob: SHA-1 over its length and content."""


def fetch(repository: str, revision: str, name: str, *, force: bool = False) -> Path:
    """Return the path of a file in the client's cache, after downloading it where needed.

    A file of a full commit that is cached needs no network.

    Args:
        repository: ``org/name``.
        revision: Commit, tag or branch.
        name: File.
        force: Download it again, in the place of a damaged one.

    Raises:
        CheckpointMissingError: The repository, the revision or the file is not there.
        HubAccessError: The repository is private, and the token is missing or may not read it.
        HubUnreachableError: The Hub does not answer, and the file is not cached.
        StorageError: The cache is full or read-only, or its file system fails.
    """
    cached = find_cached(repository, revision, name) if is_commit(revision) and not force else None
    if cached is not None:
        return cached

    def download() -> Path:
        from huggingface_hub import hf_hub_download  # takes a while, and most checkpoints need no Hub

        path = hf_hub_download(
            repository,
            name,
            revision=revision,
            force_download=force,
            library_name="memzoo",
            library_version=__version__,
        )
        return Path(path)

    return call_patiently(download, f"{name} of {repository}@{shorten(revision)}", repository=repository)


def find_cached(repository: str, commit: str, name: str) -> Path | None:
    """Find a file in the client's cache without asking the Hub."""
    with explain_errors(f"{name} of {repository}@{shorten(commit)}"):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(repository, name, revision=commit)
    return Path(found) if isinstance(found, str) else None


def is_known_absent(repository: str, commit: str, name: str) -> bool:
    """Tell whether the client remembers that the Hub has no such file in this commit."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repository, name, revision=commit) is _CACHED_NO_EXIST


def resolve(repository: str, revision: str, name: str) -> str:
    """Return the full commit of a revision, and fetch the file ``name`` of it.

    The Hub is asked, since a branch moves; without network the client remembers the last answer.
    """
    # The client stores a file as snapshots/COMMIT/NAME, and memzoo's files lie at the top of their repository.
    return fetch(repository, revision, name).absolute().parent.name


def list_files(repository: str, revision: str) -> list[RemoteFile]:
    """List all files of a revision."""
    from huggingface_hub.hf_api import RepoFile

    def ask() -> list[RemoteFile]:
        entries = list(make_client().list_repo_tree(repository, recursive=True, revision=revision))
        return [
            RemoteFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        ]

    return call_patiently(ask, f"the files of {repository}@{shorten(revision)}")


def find_head(repository: str) -> str | None:
    """Return the commit of the main branch, or None if there is no such repository."""

    def ask() -> str | None:
        return make_client().model_info(repository, revision="main").sha

    try:
        return call_patiently(ask, repository)
    except CheckpointMissingError:
        return None


def list_tags(repository: str) -> dict[str, str]:
    """Return the commit of each tag."""

    def ask() -> dict[str, str]:
        return {tag.name: tag.target_commit for tag in make_client().list_repo_refs(repository).tags}

    return call_patiently(ask, f"the tags of {repository}")


def list_repositories(namespace: str) -> list[str]:
    """List the model repositories of a user or organisation that the token may see."""

    def ask() -> list[str]:
        return [model.id for model in make_client().list_models(author=namespace)]

    return call_patiently(ask, f"the repositories of {namespace}")


def make_client() -> Any:
    """Make the Hub's client."""
    from huggingface_hub import HfApi

    return HfApi(library_name="memzoo", library_version=__version__)


def shorten(revision: str) -> str:
    """Shorten a commit to its first digits; tags and branches stay as they are."""
    return revision[:8] if is_commit(revision) else revision


def call_patiently(call: Callable[[], T], what: str, *, grace: float = 0.0, repository: str | None = None) -> T:
    """Return the result of ``call``, tried again while the Hub says that it is busy or the line is cut.

    Args:
        call: A call of the client.
        what: What it asks for, in words, for the messages of errors.
        grace: Seconds that the Hub may take longer than for other calls.
        repository: Repository of which a file is fetched.
    """
    deadline = time.monotonic() + PATIENCE_S
    wait = FIRST_WAIT_S
    # Python makes this the context of each error below, although it may be of the network and long over.
    handled_before = sys.exc_info()[1]
    while True:
        try:
            with explain_errors(what):
                return watch_call(call, what, grace=grace, repository=repository)
        except HubUnreachableError as error:
            # What the line refuses has no cause, and a cause with a password in it is only the context.
            cause = error.__cause__ or (error.__context__ if error.__suppress_context__ else None)
            if cause is None or time.monotonic() + wait > deadline:
                raise
            if not is_transient(Failure(what, cause, handled_before)):
                raise
        time.sleep(wait)
        wait *= 2  # a Hub that is busy is asked less and less often
