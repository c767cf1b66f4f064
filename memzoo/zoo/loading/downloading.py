"""Copy whole checkpoints into a folder, for machines without network."""

import errno
import shutil
from pathlib import Path

from memzoo.errors import CheckpointMissingError, MemzooError, StorageError, UnknownCheckpointError
from memzoo.zoo.entry import Entry
from memzoo.zoo.hub import Folder, Source
from memzoo.zoo.loading.locating import LocatedCheckpoint, locate, read_entry
from memzoo.zoo.registry import CARD, ENTRY, PICTURES, check_file, entry_yaml, registry, write_aside

FULL_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def download(name: str, to: str | Path) -> Path:
    """Copy all files of a checkpoint, every hash checked, to ``to/checkpoints/ID``.

    With ``MEMZOO_DIR=to``, :func:`memzoo.load` finds it there by its id; ``local-dir:`` works as well. A folder that is
    complete is left as it is, one that is not is replaced as a whole.

    Args:
        name: Id in a registry; installed files are copied, others come from the Hub.
        to: Folder.

    Returns:
        The folder of the checkpoint.

    Raises:
        UnknownCheckpointError: Nothing is known of its files.
        StorageError: It cannot be written; nothing half-written is left.
    """
    found = locate(name)
    entry = found.entry
    if entry is None:
        raise UnknownCheckpointError(
            f"{name} has no entry, so that neither its name nor its files are known; memzoo.load takes it as it is."
        )
    folder = Path(to).expanduser() / "checkpoints" / entry.id
    _check_name(entry, folder)
    if _is_complete(folder, entry):
        return folder
    # an incomplete folder that is in use is itself among the sources
    elsewhere = [source for source in found.sources if not _lies_in(source, folder)]
    try:
        _copy_files(LocatedCheckpoint(found.name, entry, elsewhere), entry, folder)
    except OSError as error:
        if isinstance(error, MemzooError) or error.errno is None:
            raise
        if _is_complete(folder, entry):  # another process was faster
            return folder
        reason = ", the disk or a quota is full" if error.errno in FULL_DISK else ""
        raise StorageError(
            f"{folder} could not be written{reason} ({error}); nothing half-written is left. Give another folder."
        ) from error
    return folder


def _lies_in(source: Source, folder: Path) -> bool:
    """Tell whether a source is this folder."""
    return isinstance(source, Folder) and source.path.resolve() == folder.resolve()


def _copy_files(found: LocatedCheckpoint, entry: Entry, folder: Path) -> None:
    """Copy all files at once, or none."""
    with write_aside(folder) as aside:
        for name, file in entry.files.items():
            shutil.copyfile(found.find_file(name), aside / name)
            check_file(aside / name, file)
        (aside / ENTRY).write_text(entry_yaml(entry), encoding="utf-8")
        for extra in (CARD, *PICTURES):
            path = _find_extra(found, extra)
            if path is not None:
                shutil.copyfile(path, aside / extra)


def _check_name(entry: Entry, folder: Path) -> None:
    """Raise if a stranger's checkpoint would take the place of another of its name."""
    ours = registry().get(entry.id)
    if ours == entry:
        return
    if ours is not None:
        place = "in a registry"
    elif (folder / ENTRY).is_file() and read_entry(folder / ENTRY).files != entry.files:
        place = f"in {folder}"
    else:
        return
    raise UnknownCheckpointError(
        f"there is another checkpoint of the name {entry.id!r} {place}; give another folder, or load it by its own "
        "name."
    )


def _find_extra(found: LocatedCheckpoint, name: str) -> Path | None:
    """Find a card or picture at the first source that has one."""
    for source in found.sources:
        try:
            path = source.get(name)
        except CheckpointMissingError:
            continue
        if path is not None:
            return path
    return None


def _is_complete(folder: Path, entry: Entry) -> bool:
    """Tell whether every file is there with its hash, and the entry is the same."""
    try:
        for name, file in entry.files.items():
            check_file(folder / name, file)
        return (folder / ENTRY).read_text(encoding="utf-8") == entry_yaml(entry)
    except (ValueError, OSError):
        return False
