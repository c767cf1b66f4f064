"""Recognize the classes of Lightning in both packages that hold them, such as ``pytorch_lightning``."""

import sys
from typing import Any, TypeGuard, TypeVar

Kind = TypeVar("Kind")
PACKAGES = {"lightning.pytorch": "pytorch_lightning", "lightning.fabric": "lightning_fabric"}
"""The parts of ``lightning``, and the packages that hold the same code under another name."""


def twins(kind: type[Kind]) -> tuple[type[Kind], ...]:
    """Return a class of Lightning and, if the process has imported the other package, its class of the same name.

    The classes of the two packages are no subclasses of each other, although their code is the same.
    """
    for package, other in PACKAGES.items():
        if kind.__module__.startswith(f"{package}."):
            module = sys.modules.get(other + kind.__module__.removeprefix(package))
            twin: Any = getattr(module, kind.__name__, None)
            return (kind,) if twin is None else (kind, twin)
    return (kind,)


def is_kind(value: object, *kinds: type[Kind]) -> TypeGuard[Kind]:
    """Tell whether a value is an instance of one of these classes of Lightning, from whichever package."""
    return isinstance(value, tuple(twin for kind in kinds for twin in twins(kind)))
