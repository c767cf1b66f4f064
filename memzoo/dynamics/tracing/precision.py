"""Evaluate a map in another floating-point type without changing the user's module.

Networks are trained in float32, but most measurements need the digits of float64. ``torch.func.functional_call``
evaluates a module with cast copies in place of its own parameters and buffers.
"""

import copy
from collections.abc import Callable
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from memzoo._attempt import Attempt
from memzoo._known_layers import is_unchanging
from memzoo._types import Map
from memzoo.dynamics.tracing.attributes import Copies, copy_tensor, isolate_attributes, list_holders
from memzoo.dynamics.tracing.digits import computes_in_float64

Result = TypeVar("Result")


def collect_tensors(f: Map) -> dict[str, Tensor]:
    """Collect the parameters and buffers of a module by name; any other callable has none.

    Each module appears once, under its first name, and each of its tensors appears even if another module holds the
    same tensor. ``functional_call`` without ``tie_weights`` therefore swaps every place once and restores every place.
    """
    if not isinstance(f, nn.Module):
        return {}
    tensors: dict[str, Tensor] = {}
    for path, module in f.named_modules():
        tensors |= module.named_parameters(path, recurse=False, remove_duplicate=False)
        tensors |= module.named_buffers(path, recurse=False, remove_duplicate=False)
    return tensors


def collect_constants(f: Map, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Collect the parameters and buffers of a module without their autograd graph, cast to ``dtype`` if it is given."""
    constants = {name: tensor.detach() for name, tensor in collect_tensors(f).items()}
    return constants if dtype is None else cast_tensors(constants, dtype)


def cast_tensors(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Cast the floating-point tensors to ``dtype``; keep the others, such as counters, as they are."""
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


class _Scope(nn.Module):
    """Call a function as the forward of a module, so that ``functional_call`` holds around it."""

    def __init__(self, module: nn.Module, function: Callable[[], object]) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self) -> object:
        """Call the function."""
        return self.function()


class CastMap:
    """A module with other tensors in place of its parameters and buffers; the module itself does not change.

    Every evaluation starts from the same buffers and attributes, and leaves the module's own as they are.
    """

    def __init__(self, module: nn.Module, tensors: dict[str, Tensor], dtype: torch.dtype | None) -> None:
        self.module: nn.Module = module
        self.tensors: dict[str, Tensor] = tensors
        self._buffers: set[str] = {name for name, _ in module.named_buffers(remove_duplicate=False)}
        self._copies: Copies = Copies(dtype, detach=self.detached)  # None leaves tensors in attributes in their types
        self._holders: list[tuple[nn.Module, list[str]]] = list_holders(module)
        # Where no attribute can change. In a tuple, because it is no other map than the module.
        self._copied: tuple[nn.Module] | None = None if self._holders else (_copy_with(module, tensors),)
        with isolate_attributes(self._holders, self._copies):  # makes the copies that are kept
            self._copies.keeps = False

    @property
    def is_unchanging(self) -> bool:
        """Tell whether the module is made of known layers alone, which compute in the type of their tensors."""
        return self._copied is not None

    @property
    def detached(self) -> bool:
        """Tell whether no gradient can reach the module's own parameters."""
        return not any(tensor.requires_grad for tensor in self.tensors.values())

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the module."""
        if self._copied is not None:
            return self._copied[0](x)
        with isolate_attributes(self._holders, self._copies):
            return functional_call(self.module, self._copy_buffers(""), (x,), tie_weights=False)

    def run(self, function: Callable[[], Result]) -> Result:
        """Call a function while the tensors are in place, such as a backward pass that calls the module again."""
        if self._copied is not None:
            return function()
        with isolate_attributes(self._holders, self._copies):
            scope = _Scope(self.module, function)
            return functional_call(scope, self._copy_buffers("module."), (), tie_weights=False)

    def _copy_buffers(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed names, with copies of the buffers, which a forward may change."""
        return {
            prefix + name: copy_tensor(tensor, None) if name in self._buffers else tensor
            for name, tensor in self.tensors.items()
        }


def _copy_with(module: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Copy a module that no evaluation changes, with other tensors in place of its parameters and buffers."""
    copies: dict[nn.Module | None, nn.Module] = {part: copy.copy(part) for part in module.modules()}
    for path, part in module.named_modules():
        twin = copies[part].__dict__
        prefix = path and f"{path}."
        for table in ("_parameters", "_buffers"):
            twin[table] = {name: tensors.get(prefix + name) for name in part.__dict__[table]}
        twin["_modules"] = {name: copies.get(child) for name, child in part._modules.items()}
    return copies[module]


def cast_map(f: Map, dtype: torch.dtype) -> Map:
    """Return ``f`` with its parameters and buffers read as ``dtype``; the module itself does not change.

    Any other callable is returned unchanged, because its constants cannot be reached, and so is a module of known
    layers that has this type already.
    """
    if not isinstance(f, nn.Module) or (is_unchanging(f) and _has_dtype(f, dtype)):
        return f
    return CastMap(f, cast_tensors(collect_tensors(f), dtype), dtype)


def _has_dtype(module: nn.Module, dtype: torch.dtype) -> bool:
    """Tell whether all floating-point tensors of a module have a type."""
    tensors = chain(module.parameters(), module.buffers())
    return all(tensor.dtype == dtype for tensor in tensors if tensor.is_floating_point())


@torch.no_grad()
def promote_to_float64(f: Map, x: Tensor) -> tuple[Map, Tensor]:
    """Return ``f`` and ``x`` in float64 where ``f`` can compute in it, otherwise as they are, in the narrower type.

    Constants in float32 refuse a float64 input, and a cast inside ``f`` loses digits without showing it in the type of
    the output. Then the arithmetic is float32, and every error bound that follows must account for it. The bounds read
    the type of the arithmetic from the dtype of the returned points.
    """
    wide = f
    if isinstance(f, nn.Module):
        wide = CastMap(f, collect_constants(f, torch.float64), torch.float64)
    if (isinstance(wide, CastMap) and wide.is_unchanging) or computes_in_float64(wide, x.double()):
        return wide, x.double()
    points = x.float() if x.dtype == torch.float64 else x
    own = CastMap(f, collect_constants(f), None) if isinstance(f, nn.Module) else f
    for narrow in (own, f):
        with Attempt(Exception):  # a stranger's code may raise anything
            narrow(points[:1])
            return narrow, points
    with Attempt(Exception):
        f(points[:1].double())
        # The digits are lost inside, but the input must be wide.
        return lambda rows: f(rows.double()).to(rows.dtype), points
    return f, points
