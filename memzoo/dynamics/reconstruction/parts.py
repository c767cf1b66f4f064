"""List the parts of what a forward returns, whatever holds them: containers, dataclasses, objects with attributes."""

import types
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from memzoo._attempt import Attempt

DEEPEST = 6
"""Levels of containers within containers that are looked into."""
MOST = 1000
"""Most parts that are looked at."""
CLOSED = (str, bytes, int, float, complex, type(None), nn.Module, type, types.ModuleType, Iterator)
"""Types that are not looked into: plain values, what does not belong to an output, what looking would use up."""
FOREIGN = ("torch", "numpy", "builtins")
"""Packages whose objects have no parts by attribute."""


class Step(NamedTuple):
    """One step from a container to what it holds."""

    key: Hashable
    is_attribute: bool

    def __str__(self) -> str:
        return f".{self.key}" if self.is_attribute else f"[{self.key!r}]"

    def take(self, holder: Any) -> Any:
        """Return what the container holds there."""
        return getattr(holder, str(self.key)) if self.is_attribute else holder[self.key]


@dataclass(frozen=True)
class Part:
    """A value in an output, and where it is."""

    steps: tuple[Step, ...]
    value: Any

    @property
    def path(self) -> str:
        """Return the place as Python writes it behind ``f(x)``."""
        return "".join(map(str, self.steps))

    @property
    def name(self) -> str:
        """Return the name nearest to the value, in lower case; empty if no container on the way gives names."""
        names = [step.key for step in self.steps if isinstance(step.key, str)]
        return names[-1].lower() if names else ""


def list_parts(output: Any, names: Iterable[str] = ()) -> list[Part]:
    """List the values in an output that are not containers themselves, each object once.

    Nothing is executed but the look into containers and attributes; a generator is not used up. A property of a class
    is read only if it has one of the ``names``; if it raises, it is no part.
    """
    found: list[Part] = []
    waiting = [Part((), output)]
    seen: set[int] = set()
    while waiting and len(seen) < MOST:
        part = waiting.pop(0)
        if id(part.value) in seen and not isinstance(part.value, (int, float, str, type(None))):
            continue
        seen.add(id(part.value))
        inner = _look_into(part.value, names) if len(part.steps) < DEEPEST else None
        if inner is None:
            found.append(part)
        else:
            waiting += [Part((*part.steps, step), value) for step, value in inner]
    return found


def take_part(output: Any, steps: Iterable[Step]) -> Any:
    """Return the part of an output that some steps lead to."""
    for step in steps:
        output = step.take(output)
    return output


def _look_into(value: Any, names: Iterable[str]) -> list[tuple[Step, Any]] | None:
    """Return what a container holds; None if the value is no container."""
    if isinstance(value, (Tensor, *CLOSED)) or callable(value):
        return None
    if isinstance(value, Mapping):
        return [_name_entry(value, key, entry) for key, entry in value.items()]
    if isinstance(value, (tuple, list)):
        fields = getattr(value, "_fields", ())
        by_name = len(fields) == len(value)
        return [
            (Step(fields[place], True) if by_name else Step(place, False), entry) for place, entry in enumerate(value)
        ]
    if type(value).__module__.split(".")[0] in FOREIGN:
        return None
    return _read_attributes(value, names) or None


def _name_entry(holder: Mapping[Any, Any], key: Any, entry: Any) -> tuple[Step, Any]:
    """Return the step to an entry of a mapping, by attribute where the mapping offers that, as ModelOutput does."""
    with Attempt(Exception):  # a stranger's attribute may raise anything
        if isinstance(key, str) and getattr(holder, key, None) is entry and entry is not None:
            return Step(key, True), entry
    return Step(key, False), entry


def _read_attributes(value: Any, names: Iterable[str]) -> list[tuple[Step, Any]]:
    """Return the public attributes of an object, those in slots and the properties of these names among them."""
    slots = [name for kind in type(value).__mro__ for name in _list_slots(kind)]
    found: list[tuple[Step, Any]] = []
    for name in dict.fromkeys([*getattr(value, "__dict__", {}), *slots, *names]):
        with Attempt(Exception):  # not set, or a property that raises
            if not name.startswith("_") and hasattr(value, name):
                found.append((Step(name, True), getattr(value, name)))
    return found


def _list_slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
