"""Search all registries that are known, memzoo's own first: by id, alias, pattern, architecture or figure."""

import difflib
import fnmatch
import os
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from memzoo._user_warning import warn_user
from memzoo.errors import RegistryError, UnknownCheckpointError
from memzoo.zoo.entry import Entry
from memzoo.zoo.registry.entry_check import check_entry
from memzoo.zoo.registry.reference import check_is_name
from memzoo.zoo.registry.registry_file import check_names, read_registry, split_numbers

FILE_NAME = "checkpoints.yaml"
GROUP = "memzoo.registries"
"""Entry points of installed packages that bring checkpoints."""
VARIABLE = "MEMZOO_REGISTRIES"
"""Environment variable with further registry files, separated as in ``PATH``."""
MOST_NAMES = 12
"""Names in an error message."""

_registered: list[Path] = []


def home() -> Path:
    """Return the folder of memzoo's own ``checkpoints.yaml``: the installed package, or the root of the source tree."""
    # A wheel carries the registry inside the package; in the source tree it lies beside the package.
    package = Path(__file__).parents[2]
    return package if (package / FILE_NAME).is_file() else package.parent


def register(path: str | Path) -> list[str]:
    """Make the checkpoints of one more registry file known, for this process.

    Args:
        path: A file that follows the schema of ``checkpoints.yaml``. The files of a checkpoint lie beside it, in
            ``checkpoints/ID/``, or on the Hub, if its entry says so.

    Returns:
        Its ids.

    Raises:
        RegistryError: The file is not there, does not follow the schema, or has a name that another registry has;
            nothing is registered.

    To have it in every process, the command line included, name the file in the environment variable
    ``MEMZOO_REGISTRIES``, or let an installed package point to it by an entry point of the group ``memzoo.registries``.
    """
    path = _make_absolute(path)
    for entry in read_registry(path).values():
        check_entry(entry, path)
    return add_registry(path)


def add_registry(path: str | Path) -> list[str]:
    """Do what :func:`register` does, without torch: each entry is checked in full only when it is used."""
    path = _make_absolute(path)
    entries = read_registry(path)
    known = list_registry_files()
    if path not in known:
        _merge_registries([*known, path])  # raises if two registries have the same name
        _registered.append(path)
    return list(entries)


def _make_absolute(path: str | Path) -> Path:
    """Return the absolute path of a file, without ``~`` and links."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError) as error:  # a link that leads to itself, a user that does not exist
        raise RegistryError(f"{path} cannot be found: {error}.") from error


def list_registry_files() -> list[Path]:
    """List the registry files in their order: memzoo's own, of installed packages, of the environment, registered."""
    named = [_make_absolute(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    files = [home() / FILE_NAME, *_list_registries_of_packages(), *named, *_registered]
    return list(dict.fromkeys(files))


@lru_cache(maxsize=1)
def _list_registries_of_packages() -> tuple[Path, ...]:
    """List the registry files of installed packages; one that cannot be read is left out with a warning."""
    found = []
    for point in entry_points(group=GROUP):
        try:
            path = _resolve_entry_point(point)
            read_registry(path)
        except Exception as error:  # a broken package of others must not make the zoo unusable
            warn_user(
                f"the registry {point.name!r} of an installed package ({point.value}) is left out: {error}",
            )
        else:
            found.append(path)
    return tuple(found)


def _resolve_entry_point(point: EntryPoint) -> Path:
    """Return the file of an entry point, which names a path, a function that returns one, or a package that has it."""
    target = point.load()
    if isinstance(target, ModuleType):
        if target.__file__ is None:
            raise RegistryError(f"{point.value} is a package without a file of its own; point to the registry's path.")
        return _make_absolute(Path(target.__file__).parent / FILE_NAME)
    path: Any = target() if callable(target) else target
    return _make_absolute(path)


def registry() -> dict[str, Entry]:
    """Return all entries by id, in natural order."""
    return {id: entry for id, (entry, _) in _merge_registries(list_registry_files()).items()}


def _merge_registries(files: list[Path]) -> dict[str, tuple[Entry, Path]]:
    """Return all entries by id, each with the file that it comes from."""
    found: dict[str, tuple[Entry, Path]] = {}
    for path in files:
        for id, entry in read_registry(path).items():
            if id in found:
                raise RegistryError(f"{id!r} is in two registries, {found[id][1]} and {path}; rename one.")
            found[id] = (entry, path)
    if len(files) > 1:  # the names within one file were checked when it was read
        entries = {id: entry for id, (entry, _) in found.items()}
        check_names(entries, " and ".join(map(str, files)))
    return {id: found[id] for id in sorted(found, key=split_numbers)}


def find_registry(id: str) -> Path:
    """Find the registry file that an id comes from."""
    _, path = _merge_registries(list_registry_files())[id]
    return path


def list_models(
    pattern: str = "*",
    *,
    architecture: str | None = None,
    dataset: str | None = None,
    figure: str | None = None,
) -> list[str]:
    """List the ids of the checkpoints that match, in natural order, without network.

    Args:
        pattern: Pattern of ids, as in a shell: ``"cifar10-*"``.
        architecture: Name of the class, e.g. ``"D1"``.
        dataset: Dataset of the training images, e.g. ``"mnist"``.
        figure: A figure or table that shows the checkpoint, e.g. ``"fig7"``.

    Example:
        >>> list_models("cifar10-*", figure="fig7")
        ['cifar10-d1']
    """
    return [
        id
        for id, entry in registry().items()
        if fnmatch.fnmatchcase(id, pattern)
        and architecture in (None, entry.architecture)
        and dataset in (None, entry.examples.dataset)
        and (figure is None or figure in entry.figures)
    ]


def info(id: str) -> Entry:
    """Return the registry entry of a checkpoint: recipe, facts, hashes, rights; nothing is loaded.

    Raises:
        UnknownCheckpointError: No checkpoint has this id or alias; the message names the nearest.
    """
    check_is_name(id)
    by_name = _entries_by_name()
    if id in by_name:
        return by_name[id]
    raise UnknownCheckpointError(f"no checkpoint {id!r}. {did_you_mean(id, by_name, listed_by='memzoo list')}")


def _entries_by_name() -> dict[str, Entry]:
    """Return all entries by their ids, then by their aliases."""
    entries = registry()
    return entries | {alias: entry for entry in entries.values() for alias in entry.aliases}


def require_entry(id: str) -> Entry:
    """Return the entry of a checkpoint for more than a look: :func:`info`, then checked in full.

    Raises:
        UnknownCheckpointError: No checkpoint has this id or alias; the message names the nearest.
        RegistryError: The network cannot be built, or a fact cannot be measured.
    """
    entry = info(id)
    return check_entry(entry, find_registry(entry.id))


def checkpoints_of(name: str) -> list[str]:
    """List the ids that a name stands for: the checkpoint of that name, else all that a figure or table shows.

    Raises:
        UnknownCheckpointError: Neither a checkpoint nor a figure has this name; the message names the nearest.
    """
    try:
        return [info(name).id]
    except UnknownCheckpointError as error:
        ids = list_models(figure=name)
        if ids:
            return ids
        by_name = _entries_by_name()
        figures = {figure for entry in by_name.values() for figure in entry.figures}
        near = did_you_mean(name, [*by_name, *figures], listed_by="memzoo list and memzoo reproduce --list")
        raise UnknownCheckpointError(f"no checkpoint or figure {name!r}. {near}") from error


def did_you_mean(name: str, names: Iterable[str], *, listed_by: str = "") -> str:
    """Suggest the nearest valid names; if none is near, all of them, or the first and the command that lists all."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    first = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    if more <= 0:
        return f"There are: {first}."
    command = f" ({listed_by})" if listed_by else ""
    return f"There are: {first} and {more} more{command}."
