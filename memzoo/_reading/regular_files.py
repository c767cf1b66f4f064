"""Read regular files of limited size: no folder, pipe, socket or device, and nothing that would fill the memory."""

import stat
from pathlib import Path

from memzoo.errors import CorruptCheckpointError, StorageError

MOST_BYTES = 8_000_000
"""Most bytes of a file of text. The text of a whole zoo has a hundredth of this, one of a network far less."""
ALWAYS_ALLOWED = 32 * 2**20
"""Bytes to which any file may expand."""
MOST_EXPANSION = 100
"""Bytes that one byte of a larger file may become. Photographs as JPEG reach 20, sparse images in a .npz about 50."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> int:
    """Raise unless a path is that of a regular file, which can be opened without waiting; return its size in bytes.

    Raises:
        CorruptCheckpointError: It is a folder, a pipe, a socket or a device.
        StorageError: It cannot be looked at.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not stat.S_ISREG(about.st_mode):
        kind = _KINDS.get(stat.S_IFMT(about.st_mode), "no regular file")
        raise CorruptCheckpointError(f"{path} is {kind} in the place of a file; replace or remove it.")
    return about.st_size


def is_file(path: Path) -> bool:
    """Tell whether a path is that of a regular file.

    Raises:
        StorageError: It cannot be looked at, as its folder is closed to this user.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise StorageError(f"{path} cannot be looked at: {error.strerror or error}.") from error


def is_folder(path: Path) -> bool:
    """Tell whether a path is that of a folder.

    Raises:
        StorageError: It cannot be looked at, as the folder around it is closed to this user.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise StorageError(f"{path} cannot be looked at: {error.strerror or error}.") from error


def list_folder(folder: Path) -> list[Path]:
    """List what is in a folder, in order.

    Raises:
        StorageError: It cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise StorageError(f"{folder} cannot be listed: {error.strerror or error}.") from error


def read_content(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most ``most`` bytes.

    Raises:
        CorruptCheckpointError: It is larger, or no regular file.
        StorageError: It cannot be read.
    """
    content = read_beginning(path, most + 1)
    if len(content) > most:
        raise CorruptCheckpointError(f"{path} has more than {most:,} bytes, more than such a file needs; get it again.")
    return content


def read_beginning(path: Path, size: int) -> bytes:
    """Read the first bytes of a regular file.

    Raises:
        CorruptCheckpointError: It is no regular file.
        StorageError: It cannot be read.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error


def check_expansion(path: Path, packed: int, expanded: int) -> None:
    """Raise if a few bytes would expand to very many, as those of a decompression bomb do.

    Args:
        path: File or folder, for the message.
        packed: Bytes in the files.
        expanded: Bytes in memory.

    Raises:
        CorruptCheckpointError: They are more than a hundred times as many, and not few.
    """
    if expanded > max(ALWAYS_ALLOWED, MOST_EXPANSION * packed):
        raise CorruptCheckpointError(
            f"{path} has {packed:,} bytes that would expand to {expanded:,}, and was not unpacked: it may be made to "
            "fill the memory. If you trust it, store the images uncompressed (numpy.savez)."
        )
