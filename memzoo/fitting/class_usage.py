"""Find what is wrong with a class in a configuration: its name, the names of its arguments, or their values."""

import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, get_args

import lightning.pytorch.callbacks
from lightning.pytorch import Callback, LightningDataModule
from pydantic import BaseModel, ValidationError

import memzoo.callbacks
import memzoo.data
from memzoo.errors import UsageError
from memzoo.fitting.given import CALLBACKS
from memzoo.fitting.models import CONFIGURABLE, Model, explain_fields
from memzoo.fitting.suggestions import describe_unknown, find_near
from memzoo.fitting.value_types import check_value
from memzoo.fitting.zoo_images import ZooImages
from memzoo.models import ARCHITECTURES, Training

KEYS = ("class_path", "init_args", "dict_kwargs")
"""What a class in a configuration may hold."""
VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def _list_public(module: Any, base: type) -> tuple[str, ...]:
    """Return the names of a package's own classes of one kind that can be instantiated."""
    public = [getattr(module, name) for name in module.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, base)]
    return tuple(kind.__name__ for kind in kinds if not inspect.isabstract(kind))


BASES: dict[str, type[Any]] = {"model": Model, "data": LightningDataModule, CALLBACKS: Callback}
"""The class from which the classes of a setting derive."""
BASE_NAMES = {"model": "LightningModule", "data": "LightningDataModule", CALLBACKS: "Callback"}
OWN: dict[str, tuple[str, ...]] = {
    "model": tuple(CONFIGURABLE),
    "data": (*_list_public(memzoo.data, LightningDataModule), ZooImages.__name__),
    CALLBACKS: _list_public(memzoo.callbacks, Callback),
}
"""memzoo's own classes for each setting."""


def check_class(setting: str, key: str, about: Any) -> None:
    """Raise :class:`memzoo.errors.UsageError` if a class or one of its arguments is wrong, or an argument is missing.

    Args:
        setting: The setting that holds the class: ``model``, ``data`` or ``callbacks``.
        key: Place of the class in the configuration.
        about: Content of the configuration at this place.
    """
    if not isinstance(about, dict) or not isinstance(about.get("class_path"), str):
        raise UsageError(f"{key} needs a class_path, one of {', '.join(OWN[setting])}, and its fields under init_args.")
    kind = _find_class(setting, key, about["class_path"])
    outside = [str(name) for name in about if name not in KEYS]
    if outside:
        raise UsageError(f"{key}: {', '.join(outside)} must stand under init_args of {kind.__name__}.")
    arguments = about.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise UsageError(f"{key}: init_args must map arguments to values, got {type(arguments).__name__}.")
    parameters = inspect.signature(kind).parameters
    _check_names(kind, parameters, arguments)
    # An architecture has a configuration, which checks ranges, too.
    if kind is CONFIGURABLE.get(kind.__name__):
        _check_fields(kind.__name__, arguments)
    else:
        check_values(f"{kind.__name__}: ", parameters, arguments)


def check_values(prefix: str, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Raise :class:`memzoo.errors.UsageError` if a value is not of the type that its parameter is annotated with.

    Args:
        prefix: Stands before the name of the argument in the message.
        parameters: Parameters of a function or class.
        given: Values by name; names that are no parameters are not checked.
    """
    for name, parameter in parameters.items():
        annotation = parameter.annotation
        # A postponed annotation is text, whose names may not exist at run time.
        if name in given and annotation is not inspect.Parameter.empty and not isinstance(annotation, str):
            check_value(f"{prefix}{name}", annotation, given[name])


def list_arguments(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the names of the parameters that take one argument each."""
    return [name for name, parameter in parameters.items() if parameter.kind not in VARIADIC]


def _check_names(kind: type, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Raise if a class does not have an argument that was given, or needs one that was not."""
    takes = list_arguments(parameters)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in given.items():
        if name in takes:
            _check_inner_names(f"{kind.__name__}: {name}", parameters[name].annotation, value)
        elif not takes_any:
            raise UsageError(describe_unknown(kind.__name__, name, takes))
    required = [name for name in takes if parameters[name].default is inspect.Parameter.empty]
    missing = [name for name in required if name not in given]
    if missing:
        raise UsageError(f"{kind.__name__} needs {' and '.join(missing)}, under init_args.")


def _check_inner_names(where: str, annotation: Any, value: Any) -> None:
    """Raise if ``value`` is a configuration with a field that the annotated class does not have."""
    fields = _list_fields(annotation)
    if not fields or not isinstance(value, dict):
        return
    for name in value:
        if name not in fields:
            raise UsageError(describe_unknown(where, name, fields))


def _check_fields(name: str, given: Mapping[str, Any]) -> None:
    """Raise if the configuration of an architecture refuses a value."""
    fields = {field: value for field, value in given.items() if field != "training"}
    try:
        ARCHITECTURES[name].config_class.model_validate(fields)
        Training.model_validate(given.get("training") or {})
    except ValidationError as error:
        raise UsageError(explain_fields(name, error)) from error


def _find_class(setting: str, key: str, name: str) -> type:
    """Return the class of a short name or of a path."""
    module, _, last = name.rpartition(".")
    if not module:
        return _find_imported(setting, key, name)
    try:
        found = getattr(import_module(module), last)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: no name of a module
        raise UsageError(f"{key}: {name!r} cannot be imported: {error}.") from error
    if not isinstance(found, type) or not issubclass(found, BASES[setting]):
        base = BASE_NAMES[setting]
        raise UsageError(f"{key}: {name!r} is no {base}; give the path of a class as package.module.Class.")
    return found


def _find_imported(setting: str, key: str, name: str) -> type:
    """Return the imported class of a short name."""
    # The parser finds a class by its short name in the same way.
    for kind in _list_subclasses(BASES[setting]):
        if kind.__name__ == name:
            return kind
    foreign = lightning.pytorch.callbacks.__all__ if setting == CALLBACKS else []
    near = find_near(name, [*OWN[setting], *foreign])
    also = ", those of lightning.pytorch.callbacks," if foreign else ""
    own = ", ".join(OWN[setting])
    raise UsageError(f"{key}: no class {name!r}.{near} There are {own}{also} and one's own as package.module.Class.")


def _list_subclasses(base: type) -> Iterable[type]:
    """Yield all imported subclasses, each before its own subclasses."""
    for kind in base.__subclasses__():
        yield kind
        yield from _list_subclasses(kind)


def _list_fields(annotation: Any) -> list[str]:
    """Return the fields of the configuration that an annotation names, alone or in a union."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return [name for kind in kinds if issubclass(kind, BaseModel) for name in kind.model_fields]
