"""What a command line and its configuration files ask for, read without the parser that refused it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from memzoo.errors import UsageError

SINGLE = ("model", "data")
"""Settings that hold one class."""
SEVERAL = "callbacks"
"""The setting of the Trainer that holds several."""


def read_given(words: list[str]) -> dict[str, Any]:
    """Return all settings as one mapping, those that come later over those before them.

    A class is a mapping with ``class_path`` and ``init_args``, however it was given.

    Args:
        words: As they stand on the command line behind ``memzoo fit``.

    Raises:
        UsageError: A configuration file is missing, no YAML, or no mapping.
    """
    given: dict[str, Any] = {}
    for name, value in split_options(words):
        if name in ("--config", "-c"):
            path = Path(value or "")
            _merge(given, _standard(_read_config(path), path.parent))
        elif name.startswith("--"):
            _set(given, name[2:], value)
    return given


def split_options(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each option with its value; None where it has none."""
    rest = iter([*words, "--"])
    word = next(rest)
    while word != "--":
        following = next(rest)
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            pass  # a value without an option
        elif equals:
            yield name, value
        elif following.startswith("-"):
            yield word, None
        else:
            yield word, following
            following = next(rest)
        word = following


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"no configuration file at {path}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    trainer = content.get("trainer")
    if isinstance(trainer, dict) and trainer.get(SEVERAL) is not None:
        kinds = trainer[SEVERAL] if isinstance(trainer[SEVERAL], list) else [trainer[SEVERAL]]
        content["trainer"] = {**trainer, SEVERAL: [_as_class(kind, folder) for kind in kinds]}
    return content


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
    """Return whether ``after`` names no other class."""
    return after.get("class_path", before.get("class_path")) == before.get("class_path")


def _set(given: dict[str, Any], key: str, value: str | None) -> None:
    """Put the value of one option into its place."""
    head, _, rest = key.partition(".")
    if head in SINGLE:
        given[head] = _set_in_class(given.get(head), rest, value)
        return
    if head != "trainer" or not rest:
        given[head.removesuffix("+")] = _value_of(value)
        return
    trainer = _inner(given, "trainer")
    name, _, rest = rest.partition(".")
    if name.removesuffix("+") == SEVERAL:
        trainer[SEVERAL] = _set_in_several(trainer.get(SEVERAL) or [], name, rest, value)
    elif not rest:
        trainer[name] = _value_of(value)
    else:
        trainer.setdefault(name, None)  # an argument of a class that the Trainer is given, such as a logger


def _set_in_several(classes: list[Any], name: str, key: str, value: str | None) -> list[Any]:
    """Return the classes with one more (``name`` ends with +), with an argument of the last one set, or replaced."""
    if name.endswith("+"):
        return [*classes, _set_in_class(None, "", value)]
    if key and classes:
        return [*classes[:-1], _set_in_class(classes[-1], key, value)]
    content = _value_of(value)
    return content if isinstance(content, list) else [_set_in_class(None, "", value)]


def _set_in_class(about: Any, key: str, value: str | None) -> Any:
    """Return a class with one argument set, or, without a key, the class that ``value`` names."""
    if not key or key == "class_path":
        return _as_class(_value_of(value), Path())
    about = about if isinstance(about, dict) else {}
    place = _inner(about, "init_args")
    *groups, name = key.removeprefix("init_args.").removesuffix("+").split(".")
    for group in groups:
        place = _inner(place, group)
    place[name] = _value_of(value)
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
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
