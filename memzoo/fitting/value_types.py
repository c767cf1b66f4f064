"""Check one value against the type of its argument, as the parser does, and name the type in a message."""

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from memzoo.errors import UsageError


def check_value(where: str, kind: Any, value: Any) -> None:
    """Raise :class:`memzoo.errors.UsageError` if the argument ``where``, of type ``kind``, does not take ``value``."""
    if not _accepts(kind, value):
        raise UsageError(f"{where} takes {name_type(kind)}, got {str(value)!r}.")


def is_union(kind: Any) -> bool:
    """Tell whether ``kind`` is the union of several types."""
    return get_origin(kind) in (Union, UnionType)  # Union[int, None] and int | None differ here before Python 3.14


def name_type(kind: Any) -> str:
    """Return a short name of a type, such as ``list[Logger] or bool or null``."""
    if kind is NoneType:
        return "null"
    origin = get_origin(kind)
    names = [name_type(inner) for inner in get_args(kind)]
    if is_union(kind):
        return " or ".join(names)
    # The arguments of Literal are values, which have no name.
    own = getattr(origin or kind, "__name__", repr(kind))
    return own if not names or origin is Callable else f"{own}[{', '.join(names)}]"


def _accepts(kind: Any, value: Any) -> bool:
    """Tell whether a parser takes ``value`` for ``kind``; a type that it does not know takes every value."""
    parser = ArgumentParser(exit_on_error=False)
    # A parser for this value alone: its refusal can have no other cause.
    try:
        parser.add_argument("--value", type=kind)
    except ValueError:
        return True
    try:
        parser.parse_object({"value": value})
    except ArgumentError:
        return False
    return True
