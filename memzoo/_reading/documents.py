"""Parse JSON and YAML within limits of size, depth, number of values, digits and length, and without repeated keys.

The parsers of the libraries keep the last of two equal keys, take time that grows with the square of the digits of a
number, and memory that grows far faster than the text; so the limits are checked before and while a text is parsed.
"""

import json
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from memzoo._reading.regular_files import MOST_BYTES, read_content
from memzoo._reading.shown_text import show_text
from memzoo.errors import CorruptCheckpointError, InvalidArgumentError

MOST_VALUES = 50_000
"""Most values and keys of a configuration; each takes a message if it is wrong."""
MOST_PLAIN_VALUES = 500_000
"""Most values and keys of a JSON file that holds a table of numbers, such as a history."""
MOST_EVENTS = 120_000
"""Most values, keys and brackets of a YAML file; memzoo's own registry has a quarter of this."""
MOST_DEPTH = 64
"""Most lists and objects within each other."""
MOST_DIGITS = 40
"""Most digits of a whole number; the seed of a generator has 20."""
LONGEST_NUMBER = 400
"""Most characters of any number; the longest float that is written without an exponent has about 330."""
LONGEST_TEXT = 100_000
"""Most characters of one text or key."""
SHOWN = 40
"""Characters of a value that a message shows."""
MERGE = "tag:yaml.org,2002:merge"
"""Tag of the key ``<<``, whose mapping is merged into the one around it."""
HASH_MODULUS = 2**61 - 1

SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C reads the same, ten times faster


# JSON -----------------------------------------------------------------------------------------------------------------


def read_json_object(path: Path, most: int = MOST_VALUES) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Args:
        path: File.
        most: Most values and keys of it.

    Raises:
        CorruptCheckpointError: It holds something else, or goes beyond the limits of this module.
        StorageError: It cannot be read.

    The cost is bounded: less than a second and 150 MB, whatever the file holds.
    """
    content = read_content(path)
    try:
        found = parse_json(content, most)
        check_values(found)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is no JSON: {show_text(str(error))}; get it again.") from error
    if not isinstance(found, dict):
        raise CorruptCheckpointError(f"{path} holds a {type(found).__name__}; it must be one JSON object.")
    return found


def parse_json(content: bytes, most: int) -> Any:
    """Parse a text whose values are not too many; an InvalidArgumentError says what is wrong with it."""
    # A comma or a bracket is before each value, and some more may stand in texts.
    if sum(map(content.count, (b",", b"[", b"{"))) > most:
        raise InvalidArgumentError(f"it has more than {most:,} values")
    return json.loads(
        content.decode("utf-8"), object_pairs_hook=_make_object, parse_int=_parse_int, parse_float=_parse_float
    )


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of keys that all differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        seen: set[str] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))
        raise InvalidArgumentError(f"key {_shorten(twice)} stands twice")
    return found


def _parse_int(text: str) -> int:
    """Parse a whole number of few digits."""
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise InvalidArgumentError(f"the number {text[:SHOWN]}... has {len(text)} digits, more than {MOST_DIGITS}")
    return int(text)


def _parse_float(text: str) -> float:
    """Parse a number of few characters."""
    if len(text) > LONGEST_NUMBER:
        raise InvalidArgumentError(
            f"the number {text[:SHOWN]}... has {len(text)} characters, more than {LONGEST_NUMBER}"
        )
    return float(text)


def check_values(content: Any) -> None:
    """Raise if lists and objects are nested too deeply, or a text is too long or cannot be written."""
    waiting = [(content, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, (dict, list)):
            if depth > MOST_DEPTH:
                raise InvalidArgumentError(f"lists and objects are nested more than {MOST_DEPTH} deep")
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            waiting.extend((part, depth + 1) for part in parts)


def _check_text(text: str) -> None:
    """Raise if a text is very long, or holds half of a surrogate pair, which no file can hold."""
    if len(text) > LONGEST_TEXT:
        raise InvalidArgumentError(
            f"the text {_shorten(text)} has {len(text):,} characters, more than {LONGEST_TEXT:,}"
        )
    if any("\ud800" <= character <= "\udfff" for character in text if not character.isascii()):
        raise InvalidArgumentError(f"the text {text[:SHOWN]!a} holds half of a surrogate pair, which is no character")


def _shorten(value: Any) -> str:
    """Show the beginning of a value in a message."""
    text = value if isinstance(value, str) else str(value)
    return ascii(text) if len(text) <= SHOWN else f"{text[:SHOWN]!a}..."


# YAML -----------------------------------------------------------------------------------------------------------------


class _StrictLoader(SafeLoader):
    """Load plain YAML without Python objects, and refuse what the loader of the library accepts silently.

    A key that occurs twice is an error; the library would keep the last value. So is a number of very many digits,
    also in hexadecimal or sexagesimal notation.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Construct a dictionary from a node whose keys all differ."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue  # a key that stands here and in the merged mapping is meant to replace the latter
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the library refuses it, and names the place
            if key in keys:
                raise InvalidArgumentError(f"key {_shorten(key)} stands twice, {_locate(node)}")
            # Python gives many numbers beyond this one the same hash, and compares each of them with all.
            if isinstance(key, int) and abs(key) >= HASH_MODULUS:
                raise InvalidArgumentError(f"key {_shorten(key)} is too large, {_locate(node)}")
            keys.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Construct an integer of few digits."""
        if len(node.value) > MOST_DIGITS:
            raise InvalidArgumentError(f"the number {node.value[:SHOWN]}... has more than {MOST_DIGITS} digits")
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Construct a float of few characters."""
        if len(node.value) > LONGEST_NUMBER:
            raise InvalidArgumentError(f"the number {node.value[:SHOWN]}... has more than {LONGEST_NUMBER} characters")
        return super().construct_yaml_float(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_yaml_float)


def _locate(node: yaml.Node) -> str:
    """Name the line of a node."""
    return f"in the mapping that begins in line {node.start_mark.line + 1}"


def parse_plain_yaml(text: str, *, aliases: bool = True, most: int = MOST_EVENTS) -> Any:
    """Parse plain YAML.

    Args:
        text: Content of a file.
        aliases: Whether YAML's aliases are allowed; in the file of a stranger they are not. What they stand for counts
            towards the limits each time.
        most: Most values, keys and brackets.

    Raises:
        InvalidArgumentError: The text is no YAML, or goes beyond the limits of this module; the message is one line.
    """
    if len(text) > MOST_BYTES:
        raise InvalidArgumentError(f"it has more than {MOST_BYTES:,} characters")
    try:
        has_aliases = _check_events(yaml.parse(text, Loader=SafeLoader), aliases=aliases, most=most)
        loader = _StrictLoader(text)
        try:
            root = loader.get_single_node()
            if has_aliases:
                _check_extent(root, most)
            return None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except MemoryError:
        raise
    # A value that does not fit its tag, such as an impossible date, raises errors of many types.
    except Exception as error:
        raise InvalidArgumentError(show_text(" ".join(str(error).split()))) from error


def _check_events(events: Iterator[yaml.Event], *, aliases: bool, most: int) -> bool:
    """Read a text without building anything from it; tell whether it has aliases.

    Raises:
        InvalidArgumentError: Something in it is beyond the limits.
    """
    depth = 0
    has_aliases = False
    for number, event in enumerate(events):
        if number > most:
            raise InvalidArgumentError(f"it has more than {most:,} values")
        if isinstance(event, yaml.ScalarEvent):
            _check_text(event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                raise InvalidArgumentError(f"lists and mappings are nested more than {MOST_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            has_aliases = True
            if not aliases:
                raise InvalidArgumentError(
                    "it uses YAML aliases, which can make a small file huge; write the values out"
                )
    return has_aliases


def _check_extent(root: yaml.Node, most: int) -> None:
    """Raise if a text is beyond the limits when everything that an alias stands for is written out."""
    waiting = [(root, 1)]
    count = 1
    while waiting:
        node, depth = waiting.pop()
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        count += len(parts)
        if count > most:
            raise InvalidArgumentError(f"it has more than {most:,} values, those that aliases stand for written out")
        if parts and depth > MOST_DEPTH:
            raise InvalidArgumentError(
                f"lists and mappings are nested more than {MOST_DEPTH} deep, or one contains itself"
            )
        waiting.extend((part, depth + 1) for part in parts)
