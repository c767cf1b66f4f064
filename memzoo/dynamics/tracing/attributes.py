"""Evaluate a module without a trace in its attributes, with the tensors that it keeps there in another type.

Modules keep more than parameters and buffers: grids made at the first call, the last code, running values, counters.
Each evaluation starts from the same state and gives it back, so that what is measured is a map. This is done to the
module's own attributes around each evaluation, where ``memzoo._module_state`` puts back everything, parameters and the
closures of a function too, once after a whole measurement.
"""

import operator
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from memzoo._known_layers import HOLDERS, PLAIN, is_unchanging
from memzoo._module_state import restore_table

SMALL = 1024
"""Entries of a tensor up to which a copy for each evaluation costs nothing."""
GRADIENT_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
"""Hooks on gradients watch or alter a training; they are no part of the map."""


def list_holders(module: nn.Module) -> list[tuple[nn.Module, list[str]]]:
    """List the parts of a module, each with the names of its attributes that hold tensors or may come to hold some.

    The list is empty where no evaluation can change an attribute.
    """
    holders: list[tuple[nn.Module, list[str]]] = []
    if is_unchanging(module):
        return holders
    for part in module.modules():
        names = [name for name, value in part.__dict__.items() if name not in PLAIN and isinstance(value, HOLDERS)]
        holders.append((part, names))
    return holders


class Copies:
    """Copies of tensors in one type; a large one is used again unless somebody has changed it in place."""

    def __init__(self, dtype: torch.dtype | None, *, detach: bool = False) -> None:
        self.dtype: torch.dtype | None = dtype
        """Type of the copies of floating-point tensors; None keeps that of each."""
        self.detach: bool = detach
        """Whether no gradient reaches the originals."""
        self.keeps: bool = True
        """Whether new copies are kept; one that is made inside a transform of torch must not outlive it."""
        self._kept: dict[int, tuple[Tensor, int, Tensor, int]] = {}
        """The original, its version, the copy and its version."""

    def copy(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor as it is now."""
        if (tensor.layout is torch.strided and tensor.numel() <= SMALL) or tensor.is_inference():
            return self._make(tensor)
        known = self._kept.get(id(tensor))
        if known is not None:
            original, version, copy, copy_version = known
            if original is tensor and version == tensor._version and copy_version == copy._version:
                return copy
        copy = self._make(tensor)
        if self.keeps and not copy.is_inference():
            self._kept[id(tensor)] = (tensor, tensor._version, copy, copy._version)
        return copy

    def _make(self, tensor: Tensor) -> Tensor:
        return copy_tensor(tensor.detach() if self.detach else tensor, self.dtype)


@contextmanager
def isolate_attributes(holders: Sequence[tuple[nn.Module, list[str]]], copies: Copies) -> Generator[None, None, None]:
    """Give each part copies of the tensors in its attributes, and restore all of its attributes afterwards.

    A container stays the same object, because others may refer to it; its content is replaced and put back.
    """
    tables: list[tuple[dict[str, Any], dict[str, Any]]] = []
    undo: list[Callable[[], None]] = []
    seen: set[int] = set()
    try:
        for part, names in holders:
            attributes = part.__dict__
            tables.append((attributes, attributes.copy()))
            buffers = part._buffers
            if isinstance(buffers, dict):  # that of a scripted module is a view
                tables.append((buffers, buffers.copy()))
            for name in names:
                if name in attributes:
                    attributes[name] = _replace(attributes[name], copies, undo, seen)
            for name in GRADIENT_HOOKS:
                if attributes.get(name):
                    attributes[name] = OrderedDict()
        yield
    finally:
        for step in reversed(undo):
            step()
        for table, content in reversed(tables):
            restore_table(table, content)


def _replace(value: Any, copies: Copies, undo: list[Callable[[], None]], seen: set[int]) -> Any:
    """Copy the tensors in a value; a container is changed in place, and ``undo`` learns how to change it back."""
    if isinstance(value, Tensor):
        return copies.copy(value)
    if type(value) is tuple:
        parts = tuple(_replace(item, copies, undo, seen) if isinstance(item, HOLDERS) else item for item in value)
        return value if all(map(operator.is_, parts, value)) else parts
    if not isinstance(value, (dict, list, set)) or id(value) in seen:
        return value
    seen.add(id(value))  # it may hold itself
    if isinstance(value, set):
        undo.append(partial(restore_table, value, set(value)))
        return value
    if isinstance(value, dict):
        undo.append(partial(restore_table, value, dict(value)))
        items = list(value.items())
    else:
        undo.append(partial(restore_table, value, list(value)))
        items = list(enumerate(value))
    for key, item in items:
        copy = _replace(item, copies, undo, seen) if isinstance(item, HOLDERS) else item
        if copy is item:
            continue
        if isinstance(value, dict):
            dict.__setitem__(value, key, copy)  # a class of its own may refuse changes, as those of configurations do
        else:
            value[key] = copy
    return value


def copy_tensor(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Copy a tensor, as ``dtype`` if it holds floating-point numbers."""
    if dtype is None or not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor.clone()
    return tensor.to(dtype)
