"""The dataclasses of a package, found by looking into all of its modules."""

from dataclasses import is_dataclass
from importlib import import_module
from pkgutil import iter_modules


def records(package):
    """Each dataclass that a module of the package defines, by its name."""
    modules = [import_module(f"{package.__name__}.{about.name}") for about in iter_modules(package.__path__)]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
    }
