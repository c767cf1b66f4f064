"""The ways to name a checkpoint."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from memzoo.errors import InvalidTypeError, UnknownCheckpointError
from memzoo.zoo.entry import COMMIT, REPOSITORY

LOCAL, HUB = "local-dir:", "hf-hub:"
REVISION = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
FORMS = "'id', 'id@revision', 'hf-hub:org/repository@revision' or 'local-dir:path'"


@dataclass(frozen=True)
class ById:
    """``id`` or ``id@revision``."""

    id: str
    revision: str | None = None


@dataclass(frozen=True)
class OnHub:
    """``hf-hub:org/repository`` or ``hf-hub:org/repository@revision``."""

    repository: str
    revision: str = "main"


@dataclass(frozen=True)
class InFolder:
    """``local-dir:path``."""

    path: Path


Reference = ById | OnHub | InFolder


def parse_reference(name: str) -> Reference:
    """What ``name`` stands for.

    Raises:
        UnknownCheckpointError: Not of one of the forms.

    Example:
        >>> parse_reference("hf-hub:someone/their-autoencoder@v1")
        OnHub(repository='someone/their-autoencoder', revision='v1')
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"a checkpoint is named by a string such as 'cifar10-d1', got {name!r}.")
    if name.startswith(LOCAL):
        path = name.removeprefix(LOCAL)
        return InFolder(Path(os.path.expanduser(path)))  # noqa: PTH111 - unknown users stay as they are
    where, at, revision = name.removeprefix(HUB).partition("@")
    if at:
        check_revision(revision, name)
    if name.startswith(HUB):
        check_repository(where)
        return OnHub(where, revision or "main")
    return ById(where, revision or None)


def check_repository(repository: str) -> None:
    """``org/name``, as the Hub has it."""
    parts = repository.split("/")
    strange = any(part[-1:] in "-." or ".." in part or "--" in part or part.endswith(".git") for part in parts)
    if not re.fullmatch(REPOSITORY.strip("^$"), repository) or strange or len(repository) > 96:
        raise UnknownCheckpointError(
            f"{repository!r} is no repository of the Hub: it must be 'organisation/name', of letters, digits, '-', '_' "
            "and '.'; e.g. 'hf-hub:someone/their-autoencoder'."
        )


def check_revision(revision: str, name: str) -> None:
    """A commit, tag or branch."""
    if not re.fullmatch(REVISION.strip("^$"), revision) or ".." in revision:
        raise UnknownCheckpointError(
            f"{name!r} names the revision {revision!r}, which is none: give a commit, tag or branch. "
            f"A checkpoint is named by {FORMS}."
        )


def is_commit(revision: str) -> bool:
    """All 40 digits: it never changes."""
    return re.fullmatch(COMMIT.strip("^$"), revision) is not None
