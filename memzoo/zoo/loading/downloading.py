"""Put whole checkpoints into a folder, for machines without network."""

import errno
import shutil
from pathlib import Path

from memzoo.errors import CheckpointMissingError, MemzooError, StorageError, UnknownCheckpointError
from memzoo.zoo.entry import Entry
from memzoo.zoo.hub import Folder
from memzoo.zoo.loading.loader import Located, entry_in, locate
from memzoo.zoo.registry import CARD, ENTRY, PICTURES, check_file, entry_yaml, registry, written_aside


def download(name: str, to: str | Path) -> Path:
    """All files of a checkpoint, every hash checked, in ``to/checkpoints/ID``.

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
    elsewhere = [s for s in found.sources if not (isinstance(s, Folder) and s.path.resolve() == folder.resolve())]
    found = Located(found.name, entry, elsewhere)
    try:
        with written_aside(folder) as aside:
            for file in entry.files:
                shutil.copyfile(found.file(file), aside / file)
                check_file(aside / file, entry.files[file], trust=False)
            (aside / ENTRY).write_text(entry_yaml(entry), encoding="utf-8")
            for extra in (CARD, *PICTURES):
                path = _extra(found, extra)
                if path is not None:
                    shutil.copyfile(path, aside / extra)
    except OSError as error:
        if isinstance(error, MemzooError) or error.errno is None:
            raise
        if _is_complete(folder, entry):  # another process was faster
            return folder
        full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        raise StorageError(
            f"{folder} could not be written{', the disk or a quota is full' if full else ''} ({error}); nothing "
            "half-written is left. Give another folder."
        ) from error
    return folder


def _check_name(entry: Entry, folder: Path) -> None:
    """A stranger's checkpoint does not take the place of another of its name."""
    ours = registry().get(entry.id)
    if ours == entry:
        return
    other = ours is not None or ((folder / ENTRY).is_file() and entry_in(folder / ENTRY).files != entry.files)
    if other:
        raise UnknownCheckpointError(
            f"there is another checkpoint of the name {entry.id!r} {'in a registry' if ours else f'in {folder}'}; give "
            "another folder, or load it by its own name."
        )


def _extra(found: Located, name: str) -> Path | None:
    """Card or picture, where there is one."""
    for source in found.sources:
        try:
            path = source.get(name)
        except CheckpointMissingError:
            continue
        if path is not None:
            return path
    return None


def _is_complete(folder: Path, entry: Entry) -> bool:
    """Every file is there with its hash, and the entry is the same."""
    try:
        for name, file in entry.files.items():
            check_file(folder / name, file, trust=False)
        return (folder / ENTRY).read_text(encoding="utf-8") == entry_yaml(entry)
    except (ValueError, OSError):
        return False
