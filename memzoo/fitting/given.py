"""Read the settings of a command line and its configuration files again, after the parser has refused them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memzoo._reading import parse_plain_yaml, read_content
from memzoo.errors import UsageError

SINGLE = ("model", "data")
"""Settings that hold one class."""
MOST_VALUES = 20_000
"""Most values, keys and brackets of a configuration: the time of the parser grows with their square."""
CALLBACKS = "callbacks"
"""The argument of the Trainer that holds several classes."""
ARGUMENTS = ("init_args", "dict_kwargs")
"""Keys that hold the arguments of a class."""
CONFIG = ("--config", "-c")
ALONE = ("--resume", "--overwrite", "--print_config", "--help", "-h")
"""Options that have no value."""
NEGATIVE = r"-(\d+|\d*\.\d+)"
"""Words that argparse takes for numbers."""


def read_given(words: list[str]) -> dict[str, Any]:
    """Return all settings as one mapping, in which later settings replace earlier ones.

    A class becomes a mapping with ``class_path`` and ``init_args``, in whatever form it was given.

    Args:
        words: The words on the command line after ``memzoo fit``.

    Raises:
        UsageError: A configuration file is missing, is not YAML or not a mapping, or the Trainer is not a mapping.
    """
    given: dict[str, Any] = {}
    for name, value in split_options(words):
        if name in CONFIG:
            _merge(given, _read_configuration(name, value))
        elif name.startswith("--"):
            _set_option(given, name[2:], value)
    return given


def split_options(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each option with its value, None if it has none; a word that belongs to no option has the name ``""``.

    A negative number and a word with a space in it are values, as in the parser.
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
    """Tell whether an option has no value."""
    return option in ALONE or option.endswith(".help")


def _is_option(word: str) -> bool:
    """Tell whether a word is an option, as argparse does."""
    return word.startswith("-") and word != "-" and " " not in word and not re.fullmatch(NEGATIVE, word)


def _read_configuration(option: str, value: str | None) -> dict[str, Any]:
    """Return a whole configuration, which is either a file or written on the command line."""
    if not value:
        raise UsageError(f"{option} needs a value: a configuration file.")
    written = None if Path(value).exists() else _parse_value(value)
    if isinstance(written, dict):
        return _standardise(written, Path())
    return _standardise(_read_config_file(Path(value)), Path(value).parent)


def _read_config_file(path: Path) -> dict[str, Any]:
    """Read a configuration file."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the configuration file in it.")
    if not path.is_file():
        raise UsageError(f"no configuration file at {path}.")
    try:
        content = parse_plain_yaml(read_content(path).decode("utf-8"), most=MOST_VALUES)
    except ValueError as error:
        raise UsageError(f"the configuration is no readable YAML: {path}: {error}") from error
    if content is None:  # an empty file
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"the configuration {path} must map settings to values, got {type(content).__name__}.")
    return content


def _standardise(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration in which every class is a mapping with ``class_path``."""
    content = {str(name): value for name, value in content.items()}
    if "config" in content:  # the parser would take it for the option
        raise UsageError("the configuration has no 'config'; the option --config may be given several times instead.")
    for name in SINGLE:
        if name in content:
            content[name] = _read_class(content[name], folder)
    if "trainer" in content:
        content["trainer"] = _read_trainer(content["trainer"], folder)
    return content


def _read_trainer(about: Any, folder: Path) -> dict[str, Any]:
    """Return the arguments of the Trainer, which may be in a separate file."""
    if isinstance(about, str) and _is_file(folder / about):
        folder = (folder / about).parent
        about = _read_config_file(folder / Path(about).name)
    if not isinstance(about, dict):
        raise UsageError(f"trainer must map arguments to values, got {about!r}.")
    if about.get(CALLBACKS) is None:
        return about
    return {**about, CALLBACKS: _read_classes(about[CALLBACKS], folder)}


def _read_classes(about: Any, folder: Path) -> list[Any]:
    """Return the given classes, of which there may be several, one or none, as a list."""
    several = about if isinstance(about, list) else [] if about is None else [about]
    return [_read_class(kind, folder) for kind in several]


def _read_class(about: Any, folder: Path) -> Any:
    """Return a class as a mapping, if it is given by its name or by a file."""
    if not isinstance(about, str):
        return about
    return _read_config_file(folder / about) if _is_file(folder / about) else {"class_path": about}


def _is_file(path: Path) -> bool:
    """Tell whether a path is that of a file; raise if it is a pipe or a device, for which the parser would wait."""
    if path.is_file():
        return True
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is no regular file; give the name of a class or a configuration file.")
    return False


def _merge(given: dict[str, Any], more: dict[str, Any]) -> None:
    """Add the settings ``more`` to ``given``, and replace those that are there.

    If ``more`` names another class, its arguments replace all arguments of the class before.
    """
    for name, value in more.items():
        before = given.get(name)
        if isinstance(before, dict) and isinstance(value, dict) and _is_same_class(before, value):
            _merge(before, value)
        else:
            given[name] = value


def _is_same_class(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Tell whether ``after`` names the same class as ``before``, or no class."""
    return after.get("class_path", before.get("class_path")) == before.get("class_path")


def _set_option(given: dict[str, Any], key: str, value: str | None) -> None:
    """Put the value of one option into its place."""
    head, _, rest = key.partition(".")
    if head in SINGLE:
        given[head] = _set_in_class(given.get(head), rest, value)
        return
    if head != "trainer":
        given[head.removesuffix("+")] = _parse_value(value)
        return
    if not rest:
        _merge(given, {"trainer": _read_trainer(_parse_value(value), Path())})
        return
    trainer = _require_mapping(given, "trainer")
    name, _, rest = rest.partition(".")
    if name.removesuffix("+") == CALLBACKS:
        trainer[CALLBACKS] = _set_in_several(trainer.get(CALLBACKS) or [], name, rest, value)
    elif not rest:
        trainer[name] = _parse_value(value)
    else:
        trainer.setdefault(name, None)  # an argument of a class that is an argument of the Trainer, such as a logger


def _set_in_several(classes: list[Any], name: str, key: str, value: str | None) -> list[Any]:
    """Set an argument of the last class, append a class (if ``name`` ends with +), or replace all classes."""
    if key and classes:
        return [*classes[:-1], _set_in_class(classes[-1], key, value)]
    new = _read_classes(_parse_value(value), Path())
    return [*classes, *new] if name.endswith("+") else new


def _set_in_class(about: Any, key: str, value: str | None) -> Any:
    """Return a class with one argument set; without a key, return the class that ``value`` names."""
    if not key or key == "class_path":
        return _read_class(_parse_value(value), Path())
    about = about if isinstance(about, dict) else {}
    *groups, name = key.removesuffix("+").split(".")
    content = _parse_value(value)
    if not groups and name in ARGUMENTS:  # all of them at once
        if isinstance(content, dict):
            _require_mapping(about, name).update(content)
        else:
            about[name] = content
        return about
    place = about if groups and groups[0] in ARGUMENTS else _require_mapping(about, ARGUMENTS[0])
    for group in groups:
        place = _require_mapping(place, group)
    place[name] = content
    return about


def _require_mapping(place: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the mapping of this name; add an empty one if there is none."""
    if not isinstance(place.get(name), dict):
        place[name] = {}
    return place[name]


def _parse_value(text: str | None) -> Any:
    """Return the value that a word stands for, read as YAML."""
    if text is None:
        return True
    try:
        return parse_plain_yaml(text)
    except ValueError:
        return text
