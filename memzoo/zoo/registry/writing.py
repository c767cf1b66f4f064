"""Write files and folders under another name and rename them: a reader gets the old content or the new one.

Renaming a file within one folder is atomic in POSIX.
"""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from memzoo.errors import MemzooError, StorageError

AT_FDCWD = -100
"""Stands for the current folder, from which a relative path begins (fcntl.h)."""
RENAME_EXCHANGE = 2
"""Exchange two names (linux/fs.h)."""


@contextmanager
def write_aside(folder: Path) -> Iterator[Path]:
    """Make a new folder to write into, and rename it to ``folder`` if the block ends without an error.

    If the block raises, the new folder is removed, and ``folder`` is not changed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        aside.chmod(0o755)  # mkdtemp lets only the user in
        if folder.exists():
            _exchange(folder, aside)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(folder: Path, aside: Path) -> None:
    """Replace ``folder`` by ``aside``; a rename cannot replace a folder that is not empty."""
    if _swap(folder, aside):
        return
    # By two renames; whoever is killed between them finds the old folder beside its place.
    attic = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(attic / folder.name)
    try:
        aside.rename(folder)
    except OSError:
        (attic / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(attic, ignore_errors=True)


def _swap(folder: Path, aside: Path) -> bool:
    """Let two folders change their names in one step; tell whether the system can, as Linux does on most disks.

    ``renameat2`` with the flag RENAME_EXCHANGE (rename(2)) is in the C library, and not in Python's.
    """
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, TypeError, AttributeError):  # another system, which may load no library without a name
        return False
    return rename(AT_FDCWD, os.fsencode(folder), AT_FDCWD, os.fsencode(aside), RENAME_EXCHANGE) == 0


def check_writable(folder: Path) -> None:
    """Make ``folder``, and raise if nothing can be written into it, so that no work is lost later."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error}); give another folder.") from error


def write_text(text: str, path: Path) -> None:
    """Write a text file under another name and rename it; an existing file keeps its permissions."""
    aside = ""
    try:
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(aside).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(aside).replace(path)
    except OSError as error:
        raise StorageError(f"{path} could not be written, and is as it was: {error}.") from error
    finally:
        if aside:
            Path(aside).unlink(missing_ok=True)


@contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Raise StorageError for what goes wrong while a folder is written aside: a full disk, a folder that is closed."""
    try:
        yield
    except MemzooError:
        raise
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{folder} could not be written, and is as it was: {error}.") from error
