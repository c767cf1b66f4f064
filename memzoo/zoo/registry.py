"""The registry ``checkpoints.yaml``: read, checked, searched; and where the files that came with memzoo lie."""

import difflib
import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from memzoo.errors import RegistryError, UnknownCheckpointError
from memzoo.zoo.entry import Entry

SHOWN = 12  # names in an error message


def home() -> Path:
    """Folder of ``checkpoints.yaml`` and ``checkpoints/``: inside an installed package, beside it in a source tree."""
    package = Path(__file__).parents[1]
    return package if (package / "checkpoints.yaml").is_file() else package.parent


def registry() -> dict[str, Entry]:
    """All entries by id, in natural order."""
    path = home() / "checkpoints.yaml"
    if not path.is_file():
        raise RegistryError(f"{path} is missing: the installation is incomplete; reinstall memzoo.")
    return read_registry(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def read_registry(path: Path, _modified: int = 0) -> dict[str, Entry]:
    """Read and check a registry file.

    Raises:
        RegistryError: Not YAML, an unknown key, a value of the wrong kind; the message names the entry and the field.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path} is not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise RegistryError(f"{path} must map ids to entries, got {type(content).__name__}.")
    if not all(isinstance(id, str) for id in content):
        raise RegistryError(f"{path}: ids must be text, got {[id for id in content if not isinstance(id, str)]}.")
    entries = {id: parse_entry(id, content[id], path) for id in sorted(content, key=natural)}
    taken = list(entries)
    for entry in entries.values():
        for alias in entry.aliases:
            if alias in taken:
                raise RegistryError(f"{path}: alias {alias!r} of entry {entry.id!r} is the name of another; rename it.")
            taken.append(alias)
    return entries


class _OnceLoader(yaml.SafeLoader):
    """Plain YAML, no Python objects; a key that stands twice is an error, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_entry(id: str, content: Any, path: Path) -> Entry:
    """One checked entry."""
    if not isinstance(content, dict):
        raise RegistryError(f"{path}: entry {id!r} must be a mapping, got {type(content).__name__}.")
    try:
        return Entry.model_validate({**content, "id": id})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']}" for e in error.errors())
        raise RegistryError(f"{path}: entry {id!r} does not follow the schema: {problems}.") from error


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts ``d2`` before ``d10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


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
        raise TypeError(f"a checkpoint is named by a string such as 'cifar10-d1', got {id!r}.")
    by_name = entries | {alias: entry for entry in entries.values() for alias in entry.aliases}
    if id in by_name:
        return by_name[id]
    names = list(by_name)
    raise UnknownCheckpointError(f"no checkpoint {id!r}. {did_you_mean(id, names)}")


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
        raise UnknownCheckpointError(f"no checkpoint or figure {name!r}. {did_you_mean(name, names)}") from error


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The nearest valid names, else all of them, or the first of many."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    more = len(names) - SHOWN
    return f"There are: {', '.join(names[:SHOWN])}{f' and {more} more (memzoo list)' if more > 0 else ''}."
