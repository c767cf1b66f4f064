"""Evaluate a module without a trace in its attributes, with the tensors that it keeps there in another type.

Modules keep more than parameters and buffers: grids made at the first call, the last code, running values, counters.
Each evaluation starts from the same state and gives it back, so that what is measured is a map.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

REGISTERED = {"_parameters", "_buffers", "_modules"}
"""Attributes that hold what ``functional_call`` replaces."""
GRADIENT_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
"""Hooks on gradients watch or alter a training; they are no part of the map."""


def list_holders(module: nn.Module) -> list[tuple[nn.Module, list[str]]]:
    """List the parts of a module, each with the names of its attributes that hold tensors or may come to hold some."""
    holders: list[tuple[nn.Module, list[str]]] = []
    for part in module.modules():
        names = [
            name
            for name, value in part.__dict__.items()
            if name not in REGISTERED and isinstance(value, (Tensor, dict, list, set, tuple))
        ]
        holders.append((part, names))
    return holders


@contextmanager
def isolate_attributes(
    holders: Sequence[tuple[nn.Module, list[str]]], dtype: torch.dtype | None
) -> Generator[None, None, None]:
    """Give each part copies of the tensors in its attributes, floating-point ones as ``dtype``, and restore all of it.

    A container stays the same object, because others may refer to it; its content is replaced and put back.
    """
    undo: list[Callable[[], None]] = []
    seen: set[int] = set()
    try:
        for part, names in holders:
            undo.append(partial(_restore, part.__dict__, dict(part.__dict__)))
            undo.append(partial(_restore, part._buffers, dict(part._buffers)))
            for name in names:
                if name in part.__dict__:
                    part.__dict__[name] = _replace(part.__dict__[name], dtype, undo, seen)
            for name in GRADIENT_HOOKS:
                if part.__dict__.get(name):
                    part.__dict__[name] = OrderedDict()
        yield
    finally:
        for step in reversed(undo):
            step()


def _restore(container: dict[Any, Any], content: dict[Any, Any]) -> None:
    """Give a dictionary its former content, in the former order."""
    container.clear()
    container.update(content)


def _restore_list(container: list[Any], content: list[Any]) -> None:
    """Give a list its former content."""
    container[:] = content


def _restore_set(container: set[Any], content: set[Any]) -> None:
    """Give a set its former content."""
    container.clear()
    container.update(content)


def _replace(value: Any, dtype: torch.dtype | None, undo: list[Callable[[], None]], seen: set[int]) -> Any:
    """Copy the tensors in a value; a container is changed in place, and ``undo`` learns how to change it back."""
    if isinstance(value, Tensor):
        return copy_tensor(value, dtype)
    if type(value) is tuple:
        return tuple(_replace(item, dtype, undo, seen) for item in value)
    if not isinstance(value, (dict, list, set)) or id(value) in seen:
        return value
    seen.add(id(value))  # it may hold itself
    if isinstance(value, dict):
        undo.append(partial(_restore, value, dict(value)))
        for key, item in list(value.items()):
            value[key] = _replace(item, dtype, undo, seen)
    elif isinstance(value, list):
        undo.append(partial(_restore_list, value, list(value)))
        value[:] = [_replace(item, dtype, undo, seen) for item in value]
    else:
        undo.append(partial(_restore_set, value, set(value)))
    return value


def copy_tensor(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Copy a tensor, as ``dtype`` if it holds floating-point numbers."""
    if dtype is None or not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor.clone()
    return tensor.to(dtype)
