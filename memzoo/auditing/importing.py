"""Import what a user names on the command line: a class or a function, also from the current directory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from memzoo._attempt import is_out_of_memory
from memzoo._reading import show_text
from memzoo.errors import AuditInputError
from memzoo.modules import Adapter


def load_self_map(name: str | None) -> Adapter | None:
    """Import ``package.module.function``, which is called as ``function(module, x)``; return None for None."""
    if name is None:
        return None
    found = import_object(name, "--self-map")
    if not callable(found):
        raise AuditInputError(f"{name} is no function but {describe_kind(found)}; it is called as function(module, x).")
    return cast(Adapter, found)


def import_object(name: str, option: str) -> Any:
    """Import the object that ``package.module.name`` names, also from the current directory."""
    module, _, attribute = name.rpartition(".")
    if not module:
        raise AuditInputError(
            f"{option} takes package.module.Name, got {name!r}; put the name of its module before it."
        )
    try:
        with current_directory_on_path():
            found = import_module(module)
            # Some packages import a name when it is first asked for.
            value = getattr(found, attribute, None)
    # The code of a module runs when it is imported, and may raise any error.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise AuditInputError(
            f"{option} {name}: {kind}{first_line(error)}. It is imported from the installed packages and from "
            f"{Path.cwd()}; run the command where `import {module}` works."
        ) from error
    if value is None:
        # The file tells a user that another module of this name was found first.
        file = getattr(found, "__file__", None) or "built in"
        raise AuditInputError(f"{option} {name}: {module} ({file}) has no {attribute!r}; check the name.")
    return value


@contextmanager
def current_directory_on_path() -> Iterator[None]:
    """Let modules be imported from the current directory, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def describe_kind(value: Any) -> str:
    """Return what kind of object ``value`` is, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a {type(value).__name__}"


def first_line(error: BaseException) -> str:
    """Return the first line of a message without its final punctuation, or the name of an error without a message."""
    message = str(error).strip() or type(error).__name__
    return show_text(message.splitlines()[0].rstrip(" .:"))
