"""Read the files that are published: only what lies in the folder itself, and only what was checked."""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from memzoo.errors import PublishError
from memzoo.zoo.entry import File

PNG = b"\x89PNG\r\n\x1a\n"
"""The first bytes of a picture (PNG specification, section 5.2)."""
# A FIFO would be waited for, and a link be followed, which some systems cannot forbid.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise PublishError if one of the files of a folder is a symbolic link."""
    for path in (folder / name for name in names):
        if path.is_symlink():
            raise PublishError(
                f"{path} is a symbolic link to {path.readlink()}, which may lie outside of the checkpoint, and "
                "everybody could read what is published; replace it by a file, or remove it."
            )


def read_file(path: Path, wanted: File, *, links: bool) -> bytes:
    """Read a file of a checkpoint, and check that its content is the one that the entry names.

    Args:
        path: File.
        wanted: Its size and hash.
        links: Whether it may be a symbolic link, as in the cache of the Hub's client.

    Raises:
        PublishError: It is no regular file, or its content is another one.
    """
    content = _read_regular(path, links=links)
    if len(content) != wanted.bytes or hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise PublishError(f"{path} was changed after it had been checked; nothing was published. Run it again.")
    return content


def read_picture(path: Path, *, links: bool) -> bytes:
    """Read a picture, which no entry names.

    Args:
        path: File.
        links: Whether it may be a symbolic link.

    Raises:
        PublishError: It is no regular file, or no PNG.
    """
    content = _read_regular(path, links=links)
    if not content.startswith(PNG):
        raise PublishError(
            f"{path} is no PNG picture, as memzoo draws it, and everybody could read what is published; remove it."
        )
    return content


def _read_regular(path: Path, *, links: bool) -> bytes:
    """Read a regular file; what was looked at is what is read, even if the name gets another content meanwhile."""
    try:
        number = os.open(path, FLAGS | (0 if links else getattr(os, "O_NOFOLLOW", 0)))
    except OSError as error:
        raise PublishError(f"{path} cannot be read ({error.strerror}); nothing was published.") from error
    try:
        if stat.S_ISREG(os.fstat(number).st_mode):
            with open(number, "rb", closefd=False) as file:
                return file.read()
    finally:
        os.close(number)
    raise PublishError(
        f"{path} is a folder, a device, a pipe or a socket, and no file; nothing was published. Remove it."
    )
