"""Measure maps in half precision: read parameters in the type of the points, and points in float32.

The 8 or 11 bits of a number in bfloat16 or float16 are too few to tell where an orbit ends: a push that arithmetic of
this type resolves is as large as the distances between examples. Every number in half precision is a number in float32
as well, so points and parameters are read as that without a change of their values.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast, overload

import torch
from torch import Tensor, nn

from memzoo._attempt import is_out_of_memory
from memzoo._checks import HALF
from memzoo._generators import keep_generators_unchanged
from memzoo._module_state import keep_module_unchanged
from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.dynamics.reconstruction import find_map, say_once
from memzoo.dynamics.tracing.minimum_cut import read_declared_cut
from memzoo.dynamics.tracing.precision import cast_map
from memzoo.errors import InvalidTypeError

Function = TypeVar("Function", bound=Callable[..., Any])


class Widened(nn.Module):
    """Evaluate a module of half-precision parameters with copies of them in the type of its input."""

    module: nn.Module

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch."""
        return cast_map(self.module, x.dtype)(x)


class WidenedWithCut(Widened):
    """Do the same for a module that names its narrowest layer."""

    def cut(self) -> tuple[nn.Module, nn.Module]:
        """Return the halves of the module, widened as well."""
        halves = read_declared_cut(self.module)
        assert halves is not None
        return Widened(halves[0]), Widened(halves[1])


@overload
def widen_module(f: nn.Module) -> nn.Module: ...
@overload
def widen_module(f: Map) -> Map: ...
def widen_module(f: Map) -> Map:
    """Return a module of half-precision parameters widened; any other map is returned unchanged."""
    if not isinstance(f, nn.Module) or isinstance(f, Widened):
        return f
    if not any(parameter.dtype in HALF for parameter in f.parameters()):
        return f
    return Widened(f) if read_declared_cut(f) is None else WidenedWithCut(f)


@torch.no_grad()
def widen_points(f: Map, x: Tensor, name: str) -> Tensor:
    """Return points in half precision as float32, for an answer that half precision cannot give.

    Args:
        f: Self-map.
        x: Points; in float32 and float64 they are returned unchanged.
        name: Name of the points in messages.

    Raises:
        InvalidTypeError: ``f`` is no module and cannot compute in float32.

    Warns:
        UserWarning: ``f`` is no module; it is measured as it computes in float32.
    """
    if x.dtype not in HALF:
        return x
    wide = x.float()
    if isinstance(f, nn.Module):
        return wide
    try:
        dtype = f(wide[:1]).dtype
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InvalidTypeError(_describe_half(x, name, f"f cannot compute in float32 ({error})")) from error
    if dtype != torch.float32:
        raise InvalidTypeError(_describe_half(x, name, f"f returns {dtype} for points in float32"))
    warn_user(
        f"{name} are {x.dtype}, whose precision cannot tell where orbits end: f is measured as it computes in float32; "
        f"pass {name}.float() if that is what is meant.",
    )
    return wide


def _describe_half(x: Tensor, name: str, what: str) -> str:
    """Word the error for a map that can be measured in half precision alone."""
    return (
        f"{name} are {x.dtype}, in which no verdict can be had, and {what}; pass {name}.float() and a map that "
        "computes in the type of its input, or the module itself, whose parameters are then read in float32."
    )


@overload
def enter_map(f: nn.Module, x: object) -> nn.Module: ...
@overload
def enter_map(f: Map, x: object) -> Map: ...
def enter_map(f: Map, x: object) -> Map:
    """Return a map as measurements take it: from a batch to the reconstruction alone, at least in float32.

    Args:
        f: Self-map as a user passes it, which may return more than the reconstruction.
        x: Points where it is going to be measured.

    Raises:
        NotASelfMapError: No part of the output is the reconstruction, or several may be.
    """
    return widen_module(find_map(f, x, cast_map))


def leave_no_trace(function: Function) -> Function:
    """Decorate a function whose first arguments are the map ``f`` that it measures and points.

    Everything that the evaluations change in the modules of ``f``, and the states of the global generators, is put back
    afterwards. A module of half-precision parameters is read in the type of the points, and of an output with several
    parts the reconstruction is taken.
    """
    points = list(inspect.signature(function).parameters)[1]

    @wraps(function)
    def measure(f: Map, *args: Any, **kwargs: Any) -> Any:
        with keep_generators_unchanged(), keep_module_unchanged(f, only_evaluated=True):
            entered = enter_map(f, args[0] if args else kwargs.get(points))
            if entered is not f:
                say_once(entered)
            return function(entered, *args, **kwargs)

    return cast(Function, measure)


def leave_no_trace_of_half(function: Function) -> Function:
    """Do the same for a function that measures an encoder or a decoder, whose output is no reconstruction."""

    @wraps(function)
    def measure(half: Map, *args: Any, **kwargs: Any) -> Any:
        with keep_generators_unchanged(), keep_module_unchanged(half, only_evaluated=True):
            return function(widen_module(half), *args, **kwargs)

    return cast(Function, measure)
