"""All registries that are known, memzoo's own first: searched by id, alias, pattern, architecture or figure."""

import difflib
import fnmatch
import os
import warnings
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from memzoo.errors import InvalidTypeError, RegistryError, UnknownCheckpointError
from memzoo.zoo.entry import Entry
from memzoo.zoo.registry.entry_check import check_entry
from memzoo.zoo.registry.registry_file import check_names, natural, read_registry

GROUP = "memzoo.registries"
"""Entry points of installed packages that bring checkpoints."""
VARIABLE = "MEMZOO_REGISTRIES"
"""Environment variable with further registry files, separated as in ``PATH``."""
SHOWN = 12  # names in an error message

_registered: list[Path] = []


def home() -> Path:
    """Folder of ``checkpoints.yaml`` and ``checkpoints/``: inside an installed package, beside it in a source tree."""
    package = Path(__file__).parents[2]
    return package if (package / "checkpoints.yaml").is_file() else package.parent


def register(path: str | Path) -> list[str]:
    """Make the checkpoints of one more registry file known, for this process.

    Args:
        path: A file that follows the schema of ``checkpoints.yaml``. The files of a checkpoint lie beside it, in
            ``checkpoints/ID/``, or on the Hub, where its entry says so.

    Returns:
        Its ids.

    Raises:
        RegistryError: Not there, against the schema, or with a name that another registry has; nothing is registered.

    To have it in every process, the command line included, name the file in the environment variable
    ``MEMZOO_REGISTRIES``, or let an installed package point to it by an entry point of the group ``memzoo.registries``.
    """
    path = Path(path).expanduser().resolve()
    for entry in read_registry(path).values():
        check_entry(entry, path)
    return add_registry(path)


def add_registry(path: str | Path) -> list[str]:
    """Do what :func:`register` does, without torch: each entry is checked in full only when it is used."""
    path = Path(path).expanduser().resolve()
    entries = read_registry(path)
    if path not in registry_files():
        _merged([*registry_files(), path])
        _registered.append(path)
    return list(entries)


def registry_files() -> list[Path]:
    """The registry files in their order: memzoo's own, those of installed packages, of the environment, registered."""
    named = [Path(part).expanduser().resolve() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return list(dict.fromkeys([home() / "checkpoints.yaml", *_of_packages(), *named, *_registered]))


@lru_cache(maxsize=1)
def _of_packages() -> tuple[Path, ...]:
    """Registry files that installed packages bring; one that cannot be read is warned about and left out."""
    found = []
    for point in entry_points(group=GROUP):
        try:
            path = _path_of(point)
            read_registry(path)
        except Exception as error:
            warnings.warn(
                f"the registry {point.name!r} of an installed package ({point.value}) is left out: {error}",
                stacklevel=2,
            )
        else:
            found.append(path)
    return tuple(found)


def _path_of(point: EntryPoint) -> Path:
    """What an entry point stands for: a path, a function that returns one, or a package with ``checkpoints.yaml``."""
    target = point.load()
    if isinstance(target, ModuleType):
        if target.__file__ is None:
            raise RegistryError(f"{point.value} is a package without a file of its own; point to the registry's path.")
        return (Path(target.__file__).parent / "checkpoints.yaml").resolve()
    path: Any = target() if callable(target) else target
    return Path(path).expanduser().resolve()


def registry() -> dict[str, Entry]:
    """All entries by id, in natural order."""
    return {id: entry for id, (entry, _) in _merged(registry_files()).items()}


def _merged(files: list[Path]) -> dict[str, tuple[Entry, Path]]:
    """Entries by id with the file that each comes from."""
    found: dict[str, tuple[Entry, Path]] = {}
    for path in files:
        for id, entry in read_registry(path).items():
            if id in found:
                raise RegistryError(f"{id!r} is in two registries, {found[id][1]} and {path}; rename one.")
            found[id] = (entry, path)
    if len(files) > 1:
        check_names({id: entry for id, (entry, _) in found.items()}, " and ".join(map(str, files)))
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def registry_of(id: str) -> Path:
    """The registry file that an id comes from."""
    return _merged(registry_files())[id][1]


def list_models(
    pattern: str = "*",
    *,
    architecture: str | None = None,
    dataset: str | None = None,
    figure: str | None = None,
) -> list[str]:
    """Ids of the checkpoints that match, in natural order, without network.

    Args:
        pattern: As in a shell: ``"cifar10-*"``.
        architecture: Name of the class, e.g. ``"D1"``.
        dataset: Of the training images, e.g. ``"mnist"``.
        figure: That rests on it, e.g. ``"fig7"``.

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
    """The registry entry of a checkpoint: recipe, facts, hashes, rights; nothing is loaded.

    Raises:
        UnknownCheckpointError: No such id or alias; the message names the nearest.
    """
    entries = registry()
    if not isinstance(id, str):
        raise InvalidTypeError(f"a checkpoint is named by a string such as 'cifar10-d1', got {id!r}.")
    by_name = entries | {alias: entry for entry in entries.values() for alias in entry.aliases}
    if id in by_name:
        return by_name[id]
    names = list(by_name)
    raise UnknownCheckpointError(f"no checkpoint {id!r}. {did_you_mean(id, names, listed_by='memzoo list')}")


def require_entry(id: str) -> Entry:
    """Return the entry of a checkpoint for more than a look: :func:`info`, then checked in full.

    Raises:
        UnknownCheckpointError: No such id or alias; the message names the nearest.
        RegistryError: The network cannot be built, or a fact cannot be measured.
    """
    entry = info(id)
    return check_entry(entry, registry_of(entry.id))


def checkpoints_of(name: str) -> list[str]:
    """Ids behind a name: of the checkpoint it names, else of all that a figure or table of that name rests on.

    Raises:
        UnknownCheckpointError: Neither; the message names the nearest.
    """
    figures = {figure for entry in registry().values() for figure in entry.figures}
    try:
        return [info(name).id]
    except UnknownCheckpointError as error:
        if name in figures:
            return list_models(figure=name)
        names = [*registry(), *(alias for entry in registry().values() for alias in entry.aliases), *figures]
        near = did_you_mean(name, names, listed_by="memzoo list and memzoo reproduce --list")
        raise UnknownCheckpointError(f"no checkpoint or figure {name!r}. {near}") from error


def did_you_mean(name: str, names: Iterable[str], *, listed_by: str = "") -> str:
    """Return the nearest valid names, else all of them, or the first of many and the command that lists them."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    more = len(names) - SHOWN
    if more <= 0:
        return f"There are: {', '.join(names)}."
    return f"There are: {', '.join(names[:SHOWN])} and {more} more{f' ({listed_by})' if listed_by else ''}."
