"""Put whole checkpoints into a folder, for machines without network."""

import errno
import shutil
from pathlib import Path

from memzoo.errors import StorageError, UnknownCheckpointError
from memzoo.zoo.files import CARD, ENTRY, PICTURES, check_file, written_aside
from memzoo.zoo.loading import Located, locate
from memzoo.zoo.registry_file import entry_yaml
from memzoo.zoo.sources import Folder


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
    if _is_complete(folder, found):
        return folder
    try:
        with written_aside(folder) as aside:
            for file in entry.files:
                shutil.copyfile(found.file(file), aside / file)
                check_file(aside / file, entry.files[file], trust=False)
            (aside / ENTRY).write_text(entry_yaml(entry), encoding="utf-8")
            for source in found.sources:
                for extra in (CARD, *PICTURES):
                    if isinstance(source, Folder) and (source.path / extra).is_file():
                        shutil.copyfile(source.path / extra, aside / extra)
    except OSError as error:
        if isinstance(error, StorageError) or error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        raise StorageError(
            f"{folder} could not be written, {'the disk or a quota is full' if full else 'it is read-only'} ({error}); "
            "nothing half-written is left. Give another folder."
        ) from error
    return folder


def _is_complete(folder: Path, found: Located) -> bool:
    """Every file is there with its hash."""
    if found.entry is None or not (folder / ENTRY).is_file():
        return False
    try:
        for name, file in found.entry.files.items():
            check_file(folder / name, file, trust=False)
    except (ValueError, OSError):
        return False
    return True
