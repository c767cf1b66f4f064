"""Results of memzoo are dataclasses that cannot be changed."""

from dataclasses import FrozenInstanceError, fields, is_dataclass
from importlib import import_module
from pkgutil import walk_packages

import pytest

from memzoo import callbacks, dynamics, zoo


def find_records(package):
    """Return each dataclass that a module of the package defines, by its name."""
    names = [about.name for about in walk_packages(package.__path__, f"{package.__name__}.") if not about.ispkg]
    return {
        f"{module.__name__}.{name}": value
        for module in map(import_module, names)
        for name, value in vars(module).items()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
    }


ZOO = {name: kind for name, kind in find_records(zoo).items() if ".loading." in name or ".sources." in name}
RECORDS = find_records(callbacks) | find_records(dynamics) | ZOO


@pytest.mark.parametrize("name", RECORDS)
def test_records_cannot_be_changed(name):
    kind = RECORDS[name]
    record = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(record, fields(kind)[0].name, None)
