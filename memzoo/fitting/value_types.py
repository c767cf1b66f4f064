"""Check one value against the type of its argument, as the parser does, and name the type in a message."""

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from memzoo.errors import UsageError


def check_value(where: str, kind: Any, value: Any) -> None:
    """Raise :class:`memzoo.errors.UsageError` if the argument ``where``, of type ``kind``, does not take ``value``."""
    if not _accepts(kind, value):
        raise UsageError(f"{where} takes {name_type(kind)}, got {value!r}.")


def name_type(kind: Any) -> str:
    """Return a short name of a type, such as ``list[Logger] or bool or null``."""
    origin = get_origin(kind)
    inner = get_args(kind)
    if kind is NoneType:
        return "null"
    if origin in (Union, UnionType):
        return " or ".join(name_type(one) for one in inner)
    if origin is Literal:
        return " or ".join(repr(value) for value in inner)
    if origin is Callable or not inner:
        return getattr(origin or kind, "__name__", str(kind))
    return f"{origin.__name__}[{', '.join(name_type(one) for one in inner)}]"


def _accepts(kind: Any, value: Any) -> bool:
    """Tell whether a parser takes ``value`` for ``kind``; a type that it does not know takes every value."""
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_argument("--value", type=kind)
    except ValueError:
        return True
    try:
        parser.parse_object({"value": value})
    except ArgumentError:
        return False
    return True
