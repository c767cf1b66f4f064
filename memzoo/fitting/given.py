"""Read what a command line and its configuration files ask for, without the parser that refused it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from memzoo.errors import UsageError

SINGLE = ("model", "data")
"""Settings that hold one class."""
CALLBACKS = "callbacks"
"""The argument of the Trainer that holds several classes."""
ARGUMENTS = ("init_args", "dict_kwargs")
"""Keys under which the arguments of a class stand."""
CONFIG = ("--config", "-c")
ALONE = ("--resume", "--overwrite", "--print_config", "--help", "-h")
"""Options that have no value."""
NEGATIVE = r"-(\d+|\d*\.\d+)"
"""Words that argparse takes for numbers."""


def read_given(words: list[str]) -> dict[str, Any]:
    """Return all settings as one mapping, those that come later over those before them.

    A class is a mapping with ``class_path`` and ``init_args``, however it was given.

    Args:
        words: The words on the command line behind ``memzoo fit``.

    Raises:
        UsageError: A configuration file is missing, no YAML, or no mapping, or the Trainer is no mapping.
    """
    given: dict[str, Any] = {}
    for name, value in split_options(words):
        if name in CONFIG:
            _merge(given, _read_whole(name, value))
        elif name.startswith("--"):
            _set(given, name[2:], value)
    return given


def split_options(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each option with its value, None where it has none; a word that belongs to no option has the name ``""``.

    As for the parser, a negative number and a word with a space in it are values.
    """
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        name, equals, value = word.partition("=")
        if not _is_option(word):
            yield "", word
        elif equals:
            yield name, value
        elif takes_no_value(word) or place == len(words) or _is_option(words[place]):
            yield word, None
        else:
            yield word, words[place]
            place += 1


def takes_no_value(option: str) -> bool:
    """Tell whether an option stands alone."""
    return option in ALONE or option.endswith(".help")


def _is_option(word: str) -> bool:
    """Tell whether a word is an option, as argparse does."""
    return word.startswith("-") and word != "-" and " " not in word and not re.fullmatch(NEGATIVE, word)


def _read_whole(option: str, value: str | None) -> dict[str, Any]:
    """Return a whole configuration: of a file, or written out on the command line."""
    if not value:
        raise UsageError(f"{option} needs a value: a configuration file.")
    written = None if Path(value).exists() else _value_of(value)
    if isinstance(written, dict):
        return _standard(written, Path())
    return _standard(_read_config(Path(value)), Path(value).parent)


def _read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the configuration file in it.")
    if not path.is_file():
        raise UsageError(f"no configuration file at {path}.")
    try:
        content = _load(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise UsageError(f"the configuration {path} is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"the configuration is no readable YAML: {path}: {' '.join(str(error).split())}") from error
    if content is None:  # an empty file
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"the configuration {path} must map settings to values, got {type(content).__name__}.")
    return content


def _standard(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration in which every class is a mapping with ``class_path``."""
    content = {str(name): value for name, value in content.items()}
    for name in SINGLE:
        if name in content:
            content[name] = _as_class(content[name], folder)
    if "trainer" in content:
        content["trainer"] = _as_trainer(content["trainer"], folder)
    return content


def _as_trainer(about: Any, folder: Path) -> dict[str, Any]:
    """Return the arguments of the Trainer, which may stand in a file of their own."""
    if isinstance(about, str) and (folder / about).is_file():
        folder = (folder / about).parent
        about = _read_config(folder / Path(about).name)
    if not isinstance(about, dict):
        raise UsageError(f"trainer must map arguments to values, got {about!r}.")
    if about.get(CALLBACKS) is None:
        return about
    return {**about, CALLBACKS: _as_classes(about[CALLBACKS], folder)}


def _as_classes(about: Any, folder: Path) -> list[Any]:
    """Return several classes, or one, or none, as a list."""
    several = about if isinstance(about, list) else [] if about is None else [about]
    return [_as_class(kind, folder) for kind in several]


def _as_class(about: Any, folder: Path) -> Any:
    """Return a class that is given by its name, or by a file of its own, as a mapping."""
    if not isinstance(about, str):
        return about
    return _read_config(folder / about) if (folder / about).is_file() else {"class_path": about}


def _merge(given: dict[str, Any], more: dict[str, Any]) -> None:
    """Put ``more`` over ``given``; the arguments of another class replace those of the first."""
    for name, value in more.items():
        before = given.get(name)
        if isinstance(before, dict) and isinstance(value, dict) and _same_class(before, value):
            _merge(before, value)
        else:
            given[name] = value


def _same_class(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Tell whether ``after`` names no other class."""
    return after.get("class_path", before.get("class_path")) == before.get("class_path")


def _set(given: dict[str, Any], key: str, value: str | None) -> None:
    """Put the value of one option into its place."""
    head, _, rest = key.partition(".")
    if head in SINGLE:
        given[head] = _set_in_class(given.get(head), rest, value)
        return
    if head != "trainer":
        given[head.removesuffix("+")] = _value_of(value)
        return
    if not rest:
        _merge(given, {"trainer": _as_trainer(_value_of(value), Path())})
        return
    trainer = _inner(given, "trainer")
    name, _, rest = rest.partition(".")
    if name.removesuffix("+") == CALLBACKS:
        trainer[CALLBACKS] = _set_in_several(trainer.get(CALLBACKS) or [], name, rest, value)
    elif not rest:
        trainer[name] = _value_of(value)
    else:
        trainer.setdefault(name, None)  # an argument of a class that the Trainer is given, such as a logger


def _set_in_several(classes: list[Any], name: str, key: str, value: str | None) -> list[Any]:
    """Return the classes with one more (``name`` ends with +), with an argument of the last one set, or replaced."""
    if key and classes:
        return [*classes[:-1], _set_in_class(classes[-1], key, value)]
    new = _as_classes(_value_of(value), Path())
    return [*classes, *new] if name.endswith("+") else new


def _set_in_class(about: Any, key: str, value: str | None) -> Any:
    """Return a class with one argument set, or, without a key, the class that ``value`` names."""
    if not key or key == "class_path":
        return _as_class(_value_of(value), Path())
    about = about if isinstance(about, dict) else {}
    *groups, name = key.removesuffix("+").split(".")
    content = _value_of(value)
    if not groups and name in ARGUMENTS:  # all of them at once
        if isinstance(content, dict):
            _inner(about, name).update(content)
        else:
            about[name] = content
        return about
    place = about if groups and groups[0] in ARGUMENTS else _inner(about, ARGUMENTS[0])
    for group in groups:
        place = _inner(place, group)
    place[name] = content
    return about


def _inner(place: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the mapping of this name, an empty one where there is none."""
    if not isinstance(place.get(name), dict):
        place[name] = {}
    return place[name]


def _value_of(text: str | None) -> Any:
    """Return the value that a word stands for, read as YAML."""
    if text is None:
        return True
    try:
        return _load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _load(text: str) -> Any:
    """Return what YAML holds.

    Raises:
        ValueError: A value is within itself, by an alias: no parser comes to an end with it.
    """
    content = yaml.safe_load(text)
    json.dumps(content, default=str, skipkeys=True)  # finds a circle
    return content
