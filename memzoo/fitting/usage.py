"""What is wrong with a configuration that the parser refused, in one line.

The cause is looked for in what was given, against what the classes take.
"""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, get_args

import lightning.pytorch.callbacks
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import Callback, LightningDataModule, Trainer
from pydantic import BaseModel, ValidationError

import memzoo.callbacks
import memzoo.data
from memzoo.errors import UsageError
from memzoo.fitting.given import SEVERAL, read_given, split_options, takes_no_value
from memzoo.fitting.models import CONFIGURABLE, Model, explain_fields
from memzoo.fitting.zoo_images import ZooImages
from memzoo.models import ARCHITECTURES, Training

REFUSED = re.compile(
    r'Parser key "(?P<key>[^"]+)":.*Subtypes: [(\[](?P<kinds>[^\n]*)[)\]]\n.*Given value: (?P<value>.*)', re.DOTALL
)
"""What the parser says of a value that is of none of several types."""
MANY = 16  # names that are not all listed where one is near
FREE = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def _public(module: Any, base: type) -> tuple[str, ...]:
    """Return the names of a package's own classes of one kind that can be made."""
    public = [getattr(module, name) for name in module.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, base)]
    return tuple(kind.__name__ for kind in kinds if not inspect.isabstract(kind))


BASES: dict[str, type[Any]] = {"model": Model, "data": LightningDataModule, SEVERAL: Callback}
CALLED: dict[str, str] = {"model": "LightningModule", "data": "LightningDataModule", SEVERAL: "Callback"}
OWN: dict[str, tuple[str, ...]] = {
    "model": tuple(CONFIGURABLE),
    "data": (*_public(memzoo.data, LightningDataModule), ZooImages.__name__),
    SEVERAL: _public(memzoo.callbacks, Callback),
}


def explain(words: list[str], parser: ArgumentParser, error: Exception) -> str:
    """Return why a configuration was refused, as one line that names what could have been meant.

    Args:
        words: As they stand on the command line behind ``memzoo fit``.
        parser: That refused them.
        error: As it was raised; its own words are the answer where no cause is found.
    """
    try:
        _check_words(words)
        given = read_given(words)
        _check_settings(given, [*parser.get_defaults().keys(branches=True)])
        _check_values_there(words)
        for name in ("model", "data"):
            if name in given:
                _check_class(name, name, given[name])
        for place, about in enumerate(_trainer_of(given).get(SEVERAL) or ()):
            _check_class(SEVERAL, f"trainer.{SEVERAL}[{place}]", about)
        if isinstance(error, ArgumentError) and (refused := REFUSED.search(str(error))):
            return f"{refused['key']} takes {_kinds(refused['kinds'])}, got {refused['value']!r}."
        _check_complete(given)
    except UsageError as cause:
        return str(cause)
    return " ".join(str(error).split())


def _check_words(words: list[str]) -> None:
    """Raise where a word is no option, and no value of one."""
    for name, value in split_options(words):
        if not name:
            raise UsageError(f"unrecognized arguments: {value}. See memzoo fit --help.")
        if not name.startswith("--") and not name.startswith(("-c", "-h")):
            raise UsageError(f"unrecognized arguments: {name}. See memzoo fit --help.")


def _check_values_there(words: list[str]) -> None:
    """Raise where an option has no value."""
    for name, value in split_options(words):
        if value is None and not takes_no_value(name):
            raise UsageError(f"{name} needs a value. See memzoo fit --help.")


def _kinds(text: str) -> str:
    """Return the types of a union, as the parser writes them, by their short names."""
    names = re.findall(r"<class '([^']+)'>|([\w.]+(?:\[[^\[\]]*\])?)", text)
    short = [re.sub(r"(?:\w+\.)+(?=\w)", "", named or other) for named, other in names]
    return " or ".join("null" if name == "NoneType" else name for name in short)


def _trainer_of(given: Mapping[str, Any]) -> dict[str, Any]:
    trainer = given.get("trainer")
    return trainer if isinstance(trainer, dict) else {}


def _check_settings(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise where a setting, or an argument of the Trainer, is none."""
    settings = list(dict.fromkeys(["model", "data", *(name.partition(".")[0] for name in known)]))
    for name in given:
        if name not in settings and not name.startswith("print_config"):
            raise UsageError(_unknown("the configuration", name, settings))
    arguments = _arguments_of(Trainer)
    for name in _trainer_of(given):
        if name.removesuffix("+") not in arguments:
            raise UsageError(_unknown("trainer", name, arguments))


def _check_class(kind: str, key: str, about: Any) -> None:
    """Raise where a class, or one of its arguments, is none, or where one is missing."""
    if not isinstance(about, dict) or not isinstance(about.get("class_path"), str):
        raise UsageError(f"{key} needs a class_path, one of {', '.join(OWN[kind])}, and its fields under init_args.")
    found = _find_class(kind, key, about["class_path"])
    own = {"class_path", "init_args", "dict_kwargs"}
    if outside := [str(name) for name in about if name not in own]:
        raise UsageError(f"{key}: {', '.join(outside)} must stand under init_args of {found.__name__}.")
    arguments = about.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise UsageError(f"{key}: init_args must map arguments to values, got {type(arguments).__name__}.")
    _check_arguments(found, arguments)
    if found.__name__ in CONFIGURABLE and found is CONFIGURABLE[found.__name__]:
        _check_values(found.__name__, arguments)


def _check_arguments(kind: type, given: Mapping[str, Any]) -> None:
    """Raise where a class has no such argument, a configuration among them no such field, or where one is missing."""
    parameters = inspect.signature(kind).parameters
    takes = _arguments_of(kind)
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in given.items():
        if name not in takes:
            if anything:
                continue
            raise UsageError(_unknown(kind.__name__, name, takes))
        fields = _fields_of(parameters[name].annotation)
        wrong = [inner for inner in value if inner not in fields] if fields and isinstance(value, dict) else []
        if wrong:
            raise UsageError(_unknown(f"{kind.__name__}: {name}", wrong[0], fields))
    missing = [name for name in takes if parameters[name].default is inspect.Parameter.empty and name not in given]
    if missing:
        raise UsageError(f"{kind.__name__} needs {' and '.join(missing)}, under init_args.")


def _check_values(name: str, given: Mapping[str, Any]) -> None:
    """Raise where the configuration of an architecture refuses a value."""
    try:
        ARCHITECTURES[name].config_class.model_validate({k: v for k, v in given.items() if k != "training"})
        Training.model_validate(given.get("training") or {})
    except ValidationError as error:
        raise UsageError(explain_fields(name, error)) from error


def _check_complete(given: Mapping[str, Any]) -> None:
    """Raise where the model or the data are missing."""
    missing = [name for name in ("data", "model") if given.get(name) is None]
    if missing:
        raise UsageError(
            f"the configuration needs {' and '.join(missing)}; see --print_config, and examples/configs/ in memzoo's "
            "repository."
        )


def _find_class(kind: str, key: str, name: str) -> type:
    """Return the class of a short name or of a path."""
    module, _, last = name.rpartition(".")
    if not module:
        for found in _descendants(BASES[kind]):
            if found.__name__ == last:
                return found
        raise UsageError(_unknown_class(kind, key, name))
    try:
        found = getattr(import_module(module), last)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: no name of a module
        raise UsageError(f"{key}: {name!r} cannot be imported: {error}.") from error
    if not isinstance(found, type) or not issubclass(found, BASES[kind]):
        raise UsageError(f"{key}: {name!r} is no {CALLED[kind]}; give the path of a class as package.module.Class.")
    return found


def _descendants(base: type) -> Iterable[type]:
    """Yield all subclasses that are imported."""
    for kind in base.__subclasses__():
        yield kind
        yield from _descendants(kind)


def _arguments_of(kind: type) -> list[str]:
    """Return the names of the arguments of a class."""
    parameters = inspect.signature(kind).parameters
    return [name for name, parameter in parameters.items() if parameter.kind not in FREE]


def _fields_of(annotation: Any) -> list[str]:
    """Return the fields of the configuration that an annotation names, alone or in a union."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return [name for kind in kinds if issubclass(kind, BaseModel) for name in kind.model_fields]


def _unknown(where: str, wrong: str, names: list[str]) -> str:
    near = difflib.get_close_matches(str(wrong), names, 1)
    if near and len(names) > MANY:
        return f"{where} has no {wrong!r}. Did you mean {near[0]}? All of them: memzoo fit --help."
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{where} has no {wrong!r}.{meant} It takes {', '.join(names)}."


def _unknown_class(kind: str, key: str, wrong: str) -> str:
    lightnings = lightning.pytorch.callbacks.__all__ if kind == SEVERAL else ()
    near = difflib.get_close_matches(wrong, [*OWN[kind], *lightnings], 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    also = ", those of lightning.pytorch.callbacks," if lightnings else ""
    own = ", ".join(OWN[kind])
    return f"{key}: no class {wrong!r}.{meant} There are {own}{also} and one's own as package.module.Class."
