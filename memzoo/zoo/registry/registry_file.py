"""A registry file such as ``checkpoints.yaml``: read, checked, its schema, and one entry replaced in it."""

import json
import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from memzoo.errors import CheckpointMissingError, RegistryError, StorageError
from memzoo.zoo.entry import FILE, ID, Entry, describe_problems
from memzoo.zoo.registry.entry_check import check_entry

SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language, ten times faster


class _OnceLoader(SafeLoader):
    """Plain YAML, no Python objects; a key that stands twice is an error, not the last one's victory.

    An integer of more digits than Python writes is an error as well, also one in hexadecimal, which Python reads.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        str(value)  # a ValueError where it is too long
        return value


_OnceLoader.add_constructor("tag:yaml.org,2002:int", _OnceLoader.construct_yaml_int)


def read_registry(path: Path) -> dict[str, Entry]:
    """Read a registry file and check it against the schema; read again only when it has changed.

    This needs no torch. Before an entry is used, :func:`memzoo.zoo.registry.entry_check.check_entry` checks the rest.

    Raises:
        RegistryError: Not there, not YAML, an unknown key, a value of the wrong kind; the message names the entry and
            the field.
    """
    if path.is_dir():
        raise RegistryError(f"{path} is a folder; name the registry file in it, such as {path / 'checkpoints.yaml'}.")
    if not path.is_file():
        raise RegistryError(f"{path} is missing: reinstall memzoo, or name the registry file that you have.")
    about = path.stat()
    return _read(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, _modified: int, _size: int) -> dict[str, Entry]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RegistryError(f"{path} is not readable as YAML: {error}") from error
    return parse_registry(text, path)


def parse_registry(text: str, path: Path, *, aliases: bool = True) -> dict[str, Entry]:
    """The entries that a registry file of this text would have; a stranger's may not use YAML's aliases."""
    content = parse_yaml(text, path, aliases=aliases)
    if not all(isinstance(id, str) for id in content):
        raise RegistryError(f"{path}: ids must be text, got {[id for id in content if not isinstance(id, str)]}.")
    entries = {id: parse_entry(id, content[id], path) for id in sorted(content, key=natural)}
    check_names(entries, str(path))
    return entries


def parse_yaml(text: str, path: Path, *, aliases: bool = True) -> dict[Any, Any]:
    """A mapping in plain YAML; whatever else the text holds is an error of ours."""
    try:
        if not aliases and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=SafeLoader)):
            raise RegistryError(f"{path} uses YAML aliases, which can make a small file huge; write the values out.")
        content = yaml.load(text, Loader=_OnceLoader)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:  # dates, huge integers
        raise RegistryError(f"{path} is not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise RegistryError(f"{path} must map ids to entries, got {type(content).__name__}.")
    return content


def parse_entry(id: str, content: Any, path: Path) -> Entry:
    """Return one entry, checked against the schema."""
    if not isinstance(content, dict):
        raise RegistryError(f"{path}: entry {id!r} must be a mapping, got {type(content).__name__}.")
    try:
        return Entry.model_validate({**content, "id": id})
    except ValidationError as error:
        raise RegistryError(f"{path}: entry {id!r} does not follow the schema: {describe_problems(error)}.") from error
    except RecursionError as error:
        raise RegistryError(f"{path}: entry {id!r} is nested too deeply.") from error


def check_names(entries: dict[str, Entry], where: str) -> None:
    """No alias is the id or alias of another."""
    taken = set(entries)
    for entry in entries.values():
        for alias in entry.aliases:
            if alias in taken:
                raise RegistryError(
                    f"{where}: alias {alias!r} of entry {entry.id!r} is the name of another; rename it."
                )
            taken.add(alias)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts ``d2`` before ``d10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


# Written --------------------------------------------------------------------------------------------------------------


def entry_yaml(entry: Entry) -> str:
    """An entry as a block of a registry file.

    Raises:
        RegistryError: Its configuration is nested deeper than YAML is written.
    """
    content = entry.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
    content["recipe"]["training"] = entry.recipe.training.model_dump(mode="json")  # a recipe is written out in full
    if entry.recipe.before:
        content["recipe"]["before"] = [part.model_dump(mode="json") for part in entry.recipe.before]
    content["steps"] = {int(step): about for step, about in content.get("steps", {}).items()}
    if not content["steps"]:
        del content["steps"]
    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 110, "default_flow_style": None}
    try:
        return yaml.safe_dump({entry.id: content}, **style)
    except RecursionError as error:
        raise RegistryError(f"entry {entry.id!r}: config is nested too deeply to be written as YAML.") from error


def replace_entry(entry: Entry, path: Path) -> None:
    """Write ``entry`` over its block in the registry file ``path``; everything else stays, comments included.

    Raises:
        CheckpointMissingError: No such file.
        RegistryError: Not exactly one block of this id, or the result would not be a registry.
    """
    write_text(with_entry(entry, path), path)


def with_entry(entry: Entry, path: Path) -> str:
    """The text that :func:`replace_entry` writes, checked."""
    lines, head = check_replaceable(entry.id, path)
    end = last = head + 1
    while end < len(lines) and (lines[end].startswith(" ") or not lines[end].strip()):
        end += 1
        last = end if lines[end - 1].strip() else last  # empty lines behind the block are not its own
    block = entry_yaml(entry).rstrip("\n").split("\n")
    text = "\n".join([*lines[:head], *block, *lines[last:]])
    entries = parse_registry(text, path)
    for other in entries.values():
        check_entry(other, path)
    if entries.get(entry.id) != entry:
        raise RegistryError(
            f"the block of {entry.id!r} in {path} could not be replaced; put it into plain order first."
        )
    return text


def check_replaceable(id: str, path: Path) -> tuple[list[str], int]:
    """The lines of a registry file, and the one at which the block of ``id`` begins."""
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; give the root of a memzoo source tree, or a registry file.")
    lines = path.read_text(encoding="utf-8").split("\n")
    heads = [i for i, line in enumerate(lines) if line.split(":")[0].strip("'\"") == id]
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path} cannot be replaced, its folder is read-only; nothing was changed.")
    if len(heads) != 1:
        raise RegistryError(f"{path} has {len(heads)} blocks that begin with '{id}:', needs exactly one.")
    return lines, heads[0]


def write_text(text: str, path: Path) -> None:
    """Write aside, then rename: the file is the old one or the new one, never half of it."""
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


# Schema ---------------------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """JSON Schema of a registry file, for editors; the configuration is checked by its architecture."""
    from memzoo.models import ARCHITECTURES  # imports torch

    kinds = {name: kind.config_class for name, kind in sorted(ARCHITECTURES.items())}
    _, both = TypeAdapter.json_schemas([(kind, "validation", TypeAdapter(kind)) for kind in (Entry, *kinds.values())])
    definitions = both["$defs"]
    entry = definitions["Entry"]
    del entry["properties"]["id"]
    entry["required"].remove("id")
    entry["properties"]["files"] |= {
        "patternProperties": {FILE: {"$ref": "#/$defs/File"}},
        "additionalProperties": False,
    }
    entry["properties"]["architecture"] = {"enum": list(kinds)}
    entry["allOf"] = [
        {
            "if": {"properties": {"architecture": {"const": name}}},
            "then": {"properties": {"config": {"$ref": f"#/$defs/{kind.__name__}"}}},
        }
        for name, kind in kinds.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "memzoo registry",
        "description": "Checkpoints by id.",
        "type": "object",
        "propertyNames": {"pattern": ID},
        "additionalProperties": {"$ref": "#/$defs/Entry"},
        "$defs": definitions,
    }


def json_schema_text() -> str:
    """:func:`json_schema` as it is stored."""
    return json.dumps(json_schema(), indent=1, sort_keys=True) + "\n"
