"""The dataclasses of a package, found by looking into all of its modules."""

from dataclasses import is_dataclass
from importlib import import_module
from pkgutil import walk_packages


def records(package):
    """Return each dataclass that a module of the package defines, by its name."""
    names = [about.name for about in walk_packages(package.__path__, f"{package.__name__}.") if not about.ispkg]
    return {
        f"{module.__name__}.{name}": value
        for module in map(import_module, names)
        for name, value in vars(module).items()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
    }
