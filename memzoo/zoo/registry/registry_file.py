"""Read a registry file such as ``checkpoints.yaml``, check it, and replace one entry in it."""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from memzoo._reading import is_file, parse_plain_yaml, read_content, show_text
from memzoo.errors import CheckpointMissingError, RegistryError, StorageError
from memzoo.zoo.entry import Entry, describe_problems
from memzoo.zoo.registry.entry_check import check_entry
from memzoo.zoo.registry.writing import write_text

MOST_NAMED = 5
"""Wrong ids that a message names."""


def read_registry(path: Path) -> dict[str, Entry]:
    """Read a registry file and check it against the schema; read again only when it has changed.

    This needs no torch. Before an entry is used, :func:`memzoo.zoo.registry.entry_check.check_entry` checks the rest.

    Raises:
        RegistryError: The file is not there or not YAML, or has an unknown key or a value of the wrong kind; the
            message names the entry and the field.
    """
    if not is_file(path) and path.is_dir():
        raise RegistryError(f"{path} is a folder; name the registry file in it, such as {path / 'checkpoints.yaml'}.")
    if not path.is_file():
        raise RegistryError(f"{path} is missing: reinstall memzoo, or name the registry file that you have.")
    about = path.stat()
    return _read_once(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _read_once(path: Path, _modified: int, _size: int) -> dict[str, Entry]:
    """Read a registry file, once for each time and size that it has had."""
    try:
        text = read_content(path).decode("utf-8")
    except ValueError as error:
        raise RegistryError(f"{path} is not readable as YAML: {error}") from error
    return parse_registry(text, path)


def parse_registry(text: str, path: Path, *, aliases: bool = True) -> dict[str, Entry]:
    """Return the entries of a registry file with this text.

    Args:
        text: Content of the file.
        path: The file, for messages.
        aliases: Whether YAML's aliases are allowed; in the file of a stranger they are not.
    """
    content = parse_yaml(text, path, aliases=aliases)
    strange = [id for id in content if not isinstance(id, str)]
    if strange:
        raise RegistryError(f"{path}: ids must be text, got {show_text(str(strange[:MOST_NAMED]))}.")
    entries = {id: parse_entry(id, content[id], path) for id in sorted(content, key=split_numbers)}
    check_names(entries, str(path))
    return entries


def parse_yaml(text: str, path: Path, *, aliases: bool = True) -> dict[Any, Any]:
    """Return the mapping that a text in plain YAML holds, and raise RegistryError if it holds anything else."""
    try:
        content = parse_plain_yaml(text, aliases=aliases)
    except ValueError as error:
        raise RegistryError(f"{path} is not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise RegistryError(f"{path} must map ids to entries, got {type(content).__name__}.")
    return content


def parse_entry(id: str, content: Any, path: Path) -> Entry:
    """Return the entry with this content, checked against the schema."""
    if not isinstance(content, dict):
        raise RegistryError(f"{path}: entry {id!r} must be a mapping, got {type(content).__name__}.")
    try:
        return Entry.model_validate({**content, "id": id})
    except ValidationError as error:
        raise RegistryError(f"{path}: entry {id!r} does not follow the schema: {describe_problems(error)}.") from error
    except RecursionError as error:
        raise RegistryError(f"{path}: entry {id!r} is nested too deeply.") from error


def check_names(entries: dict[str, Entry], where: str) -> None:
    """Raise if an alias is the id or an alias of another entry."""
    taken = set(entries)
    for entry in entries.values():
        for alias in entry.aliases:
            if alias in taken:
                raise RegistryError(
                    f"{where}: alias {alias!r} of entry {entry.id!r} is the name of another; rename it."
                )
            taken.add(alias)


def split_numbers(name: str) -> list[tuple[int, str]]:
    """Split a name into its numbers and the words between them: a sort key that puts ``d2`` before ``d10``."""
    parts = [part.lstrip("0") if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]
    # Every second part is a number. Of two without leading zeros the longer one is larger; none is converted, as it
    # may have very many digits.
    return [(len(part) if place % 2 else -1, part) for place, part in enumerate(parts)]


# Writing --------------------------------------------------------------------------------------------------------------


def entry_yaml(entry: Entry) -> str:
    """Write an entry as a block of a registry file.

    Raises:
        RegistryError: Its configuration is nested too deeply to be written as YAML.
    """
    content = entry.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
    # A training is written out in full: it must stay the same when a default changes.
    content["recipe"]["training"] = entry.recipe.training.model_dump(mode="json")
    if entry.recipe.before:
        content["recipe"]["before"] = [part.model_dump(mode="json") for part in entry.recipe.before]
    if "steps" in content:  # the keys of JSON are text
        content["steps"] = {int(step): about for step, about in content["steps"].items()}
    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 110, "default_flow_style": None}
    try:
        return yaml.safe_dump({entry.id: content}, **style)
    except RecursionError as error:
        raise RegistryError(f"entry {entry.id!r}: config is nested too deeply to be written as YAML.") from error


def replace_entry(entry: Entry, path: Path) -> None:
    """Replace the block of ``entry`` in the registry file ``path``; everything else stays, comments included.

    Raises:
        CheckpointMissingError: There is no such file.
        RegistryError: The file has no block of this id or several, or the result would not be a registry.
    """
    write_text(insert_entry(entry, path), path)


def insert_entry(entry: Entry, path: Path) -> str:
    """Return the text that :func:`replace_entry` writes, after checking that it is a registry."""
    lines, head = check_replaceable(entry.id, path)
    end = _find_end(lines, head)
    block = entry_yaml(entry).rstrip("\n")
    text = "\n".join([*lines[:head], block, *lines[end:]])
    entries = parse_registry(text, path)
    for other in entries.values():
        check_entry(other, path)
    # YAML can be written in many ways, so the new text is read again and compared with the entry.
    if entries.get(entry.id) != entry:
        raise RegistryError(
            f"the block of {entry.id!r} in {path} could not be replaced; put it into plain order first."
        )
    return text


def _find_end(lines: list[str], head: int) -> int:
    """Find the line after the block that begins at ``head``; empty lines after the block are not part of it."""
    end = head + 1
    for number, line in enumerate(lines[end:], end + 1):
        if not line.strip():
            continue
        if not line.startswith(" "):
            break
        end = number
    return end


def check_replaceable(id: str, path: Path) -> tuple[list[str], int]:
    """Check that the block of ``id`` in a registry file can be replaced.

    Returns:
        The lines of the file, and the index of the line at which the block begins.
    """
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; give the root of a memzoo source tree, or a registry file.")
    lines = path.read_text(encoding="utf-8").split("\n")
    # The block is found in the text and not by a YAML library, so that the comments of the file stay.
    heads = [i for i, line in enumerate(lines) if line.split(":")[0].strip("'\"") == id]
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path} cannot be replaced, its folder is read-only; nothing was changed.")
    if len(heads) != 1:
        raise RegistryError(f"{path} has {len(heads)} blocks that begin with '{id}:', needs exactly one.")
    return lines, heads[0]
