"""Every error that memzoo raises on purpose is one of ``memzoo.errors``."""

import ast
import inspect
from pathlib import Path

import pytest

import memzoo
from memzoo import errors

ERRORS = {name for name, kind in vars(errors).items() if inspect.isclass(kind)}
PROTOCOLS = {"AttributeError", "NotImplementedError", "ConstructorError"}
"""Errors that Python or the YAML reader expects, of a module without an attribute for example."""


def list_raised(path):
    """Return the line and the name of each error that a file raises, with a message or without."""
    tree = ast.parse(path.read_text())
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    kinds = [error.func if isinstance(error, ast.Call) else error for error in raised]
    return [(kind.lineno, ast.unparse(kind).rpartition(".")[2]) for kind in kinds]


def test_every_error_that_is_raised_on_purpose_derives_from_memzoo_error():
    folder = Path(memzoo.__file__).parent
    raised = [(path, line, name) for path in sorted(folder.rglob("*.py")) for line, name in list_raised(path)]
    assert len(raised) > 100
    others = [
        f"{path.relative_to(folder)}:{line} raises {name}; raise an error of memzoo.errors"
        for path, line, name in raised
        if name[0].isupper() and name not in ERRORS | PROTOCOLS  # a small letter begins the name of a variable
    ]
    assert not others, "\n".join(others)


@pytest.mark.parametrize("name", sorted(ERRORS - {"MemzooError"}))
def test_every_error_is_caught_as_memzoo_error_and_as_one_of_python(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.MemzooError)
    of_python = [base for base in kind.__mro__ if base.__module__ == "builtins"]
    assert set(of_python) - {Exception, BaseException, object}
