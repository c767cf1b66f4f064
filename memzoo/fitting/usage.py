"""Explain in one line why the parser refused a configuration.

The parser says which part of its grammar failed. A user needs the cause instead, so it is looked for in the words and
files that were given, and compared with what the settings and classes take.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from memzoo.errors import UsageError
from memzoo.fitting.class_usage import check_class, check_values, list_arguments
from memzoo.fitting.given import CALLBACKS, SINGLE, read_given, split_options, takes_no_value
from memzoo.fitting.parser import TYPES
from memzoo.fitting.suggestions import describe_unknown
from memzoo.fitting.value_types import check_value, is_union


def explain(words: list[str], parser: ArgumentParser, error: Exception) -> str:
    """Return why a configuration was refused, as one line that names what could have been meant.

    Args:
        words: The words on the command line after ``memzoo fit``.
        parser: The parser that refused them.
        error: The error that it raised; its message is the answer if no cause is found.
    """
    try:
        _check_words(words)
        # Each check relies on those before it.
        given = read_given(words)
        _check_settings(given, parser.get_defaults().keys(branches=True))
        _check_values_present(words)
        _check_classes(given)
        _check_types(given, words)
        _check_complete(given)
    except UsageError as cause:
        return str(cause)
    return " ".join(str(error).split())


def _check_words(words: list[str]) -> None:
    """Raise if a word is neither an option nor the value of one."""
    for name, value in split_options(words):
        if not name.startswith(("--", "-c", "-h")):
            raise UsageError(f"unrecognized arguments: {name or value}. See memzoo fit --help.")


def _check_values_present(words: list[str]) -> None:
    """Raise if an option that needs a value has none."""
    for name, value in split_options(words):
        if value is None and not takes_no_value(name):
            raise UsageError(f"{name} needs a value. See memzoo fit --help.")


def _check_settings(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise if a setting, or an argument of the Trainer, does not exist."""
    names = [*SINGLE, *(name.partition(".")[0] for name in known)]
    settings = list(dict.fromkeys(names))  # each once, in their order
    for name in given:
        if name not in settings and not name.startswith("print_config"):
            raise UsageError(describe_unknown("the configuration", name, settings))
    arguments = list_arguments(inspect.signature(Trainer).parameters)
    for name in _get_trainer(given):
        if name not in arguments:
            raise UsageError(describe_unknown("trainer", name, arguments))


def _check_classes(given: Mapping[str, Any]) -> None:
    """Raise if the model, the data or a callback is wrong."""
    for setting in SINGLE:
        if setting in given:
            check_class(setting, setting, given[setting])
    for place, about in enumerate(_get_trainer(given).get(CALLBACKS) or ()):
        check_class(CALLBACKS, f"trainer.{CALLBACKS}[{place}]", about)


def _check_types(given: Mapping[str, Any], words: list[str]) -> None:
    """Raise if a setting, or an argument of the Trainer, has a value that is of none of several types."""
    for name, kind in TYPES.items():
        if name in given:
            check_value(name, kind, given[name])
    # Options such as --trainer.logger.name belong to a class, whose arguments only the parser knows.
    of_classes = {name.split(".")[1] for name, _ in split_options(words) if name.count(".") > 1}
    # The message of the parser is clear if there is one type. The callbacks are checked one by one.
    several = {
        name: parameter
        for name, parameter in inspect.signature(Trainer).parameters.items()
        if is_union(parameter.annotation) and name not in {CALLBACKS, *of_classes}
    }
    check_values("trainer.", several, _get_trainer(given))


def _check_complete(given: Mapping[str, Any]) -> None:
    """Raise if the model or the data are missing."""
    missing = [name for name in ("data", "model") if given.get(name) is None]
    if missing:
        raise UsageError(
            f"the configuration needs {' and '.join(missing)}; see --print_config, and examples/configs/ in memzoo's "
            "repository."
        )


def _get_trainer(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the Trainer, without the + of an option that adds to a list."""
    trainer = given.get("trainer")
    if not isinstance(trainer, dict):
        return {}
    return {name.removesuffix("+"): value for name, value in trainer.items()}
