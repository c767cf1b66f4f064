"""Parse the names by which a checkpoint may be called: an id, a repository on the Hub, or a folder."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from memzoo.errors import InvalidTypeError, UnknownCheckpointError
from memzoo.zoo.entry import COMMIT, REPOSITORY

LOCAL = "local-dir:"
HUB = "hf-hub:"
REVISION = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
LONGEST_NAME = 96
"""Characters of a repository's name, by the Hub's rules."""
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
    """Parse the name of a checkpoint.

    Raises:
        UnknownCheckpointError: The name has none of the forms.

    Example:
        >>> parse_reference("hf-hub:someone/their-autoencoder@v1")
        OnHub(repository='someone/their-autoencoder', revision='v1')
    """
    check_is_name(name)
    if name.startswith(LOCAL):
        path = name.removeprefix(LOCAL)
        return InFolder(Path(os.path.expanduser(path)))  # noqa: PTH111 - unknown users stay as they are
    # Neither an id nor the name of a repository may contain "@".
    place, at, revision = name.removeprefix(HUB).partition("@")
    if at:
        check_revision(revision, name)
    if name.startswith(HUB):
        check_repository(place)
        return OnHub(place, revision or "main")
    return ById(place, revision or None)


def check_is_name(name: object) -> None:
    """Raise unless a checkpoint is named by a string."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"a checkpoint is named by a string such as 'cifar10-d1', got {name!r}.")


def check_repository(repository: str) -> None:
    """Raise unless ``repository`` is a name that the Hub allows: ``organisation/name``."""
    matches = re.fullmatch(REPOSITORY.strip("^$"), repository) is not None
    has_forbidden_part = any(map(_is_forbidden, repository.split("/")))
    if not matches or has_forbidden_part or len(repository) > LONGEST_NAME:
        raise UnknownCheckpointError(
            f"{repository!r} is no repository of the Hub: it must be 'organisation/name', of letters, digits, '-', '_' "
            "and '.'; e.g. 'hf-hub:someone/their-autoencoder'."
        )


def _is_forbidden(part: str) -> bool:
    """Tell whether the Hub forbids a part of a repository's name although each of its characters is allowed."""
    return ".." in part or "--" in part or part.endswith(("-", ".", ".git"))


def check_revision(revision: str, name: str) -> None:
    """Raise unless ``revision`` can be a commit, tag or branch."""
    if not re.fullmatch(REVISION.strip("^$"), revision) or ".." in revision:
        raise UnknownCheckpointError(
            f"{name!r} names the revision {revision!r}, which is none: give a commit, tag or branch. "
            f"A checkpoint is named by {FORMS}."
        )


def is_commit(revision: str) -> bool:
    """Tell whether a revision is a full commit of 40 digits, which never changes."""
    return re.fullmatch(COMMIT.strip("^$"), revision) is not None
