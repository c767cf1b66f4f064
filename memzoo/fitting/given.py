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
            _merge(given, _standard(_read_config(Path(value or ""))))
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
    if not isinstance(content, dict):
        raise UsageError(f"the configuration {path} must map settings to values, got {type(content).__name__}.")
    return content


def _standard(content: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which every class is a mapping with ``class_path``."""
    content = {str(name): value for name, value in content.items()}
    for name in SINGLE:
        if isinstance(content.get(name), str):
            content[name] = {"class_path": content[name]}
    trainer = content.get("trainer")
    if isinstance(trainer, dict) and SEVERAL in trainer:
        kinds = trainer[SEVERAL] if isinstance(trainer[SEVERAL], list) else [trainer[SEVERAL]]
        several = [{"class_path": kind} if isinstance(kind, str) else kind for kind in kinds if kind is not None]
        content["trainer"] = {**trainer, SEVERAL: several}
    return content


def _merge(given: dict[str, Any], more: dict[str, Any]) -> None:
    """Put ``more`` over ``given``; the arguments of another class replace those of the first."""
    for name, value in more.items():
        before = given.get(name)
        both = isinstance(before, dict) and isinstance(value, dict)
        if both and before.get("class_path") == value.get("class_path", before.get("class_path")):
            _merge(before, value)
        else:
            given[name] = value


def _set(given: dict[str, Any], key: str, value: str | None) -> None:
    """Put the value of one option into its place."""
    head, _, rest = key.partition(".")
    if head in SINGLE:
        given[head] = _set_in_class(given.get(head), rest, value)
        return
    if head != "trainer" or not rest:
        given[head.removesuffix("+")] = _value_of(value)
        return
    trainer = given.setdefault("trainer", {})
    name, _, rest = rest.partition(".")
    if name == f"{SEVERAL}+":
        trainer.setdefault(SEVERAL, []).append(_set_in_class(None, "", value))
    elif name == SEVERAL and rest and trainer.get(SEVERAL):
        trainer[SEVERAL][-1] = _set_in_class(trainer[SEVERAL][-1], rest, value)
    elif name == SEVERAL:
        trainer[SEVERAL] = [_set_in_class(None, "", value)]
    elif not rest:
        trainer[name] = _value_of(value)
    else:
        trainer.setdefault(name, None)  # an argument of a class that the Trainer is given, such as a logger


def _set_in_class(about: Any, key: str, value: str | None) -> dict[str, Any]:
    """Return a class with one argument set, or, without a key, the class that ``value`` names."""
    if not key or key == "class_path":
        content = _value_of(value)
        return content if isinstance(content, dict) else {"class_path": content}
    about = about if isinstance(about, dict) else {}
    place = about.setdefault("init_args", {})
    *groups, name = key.removeprefix("init_args.").removesuffix("+").split(".")
    for group in groups:
        inner = place.get(group)
        place[group] = inner if isinstance(inner, dict) else {}
        place = place[group]
    place[name] = _value_of(value)
    return about


def _value_of(text: str | None) -> Any:
    """Return the value that a word stands for, read as YAML."""
    if text is None:
        return True
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
