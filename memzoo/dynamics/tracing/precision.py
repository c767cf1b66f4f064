"""The same map in another floating-point type, without touching the user's module."""

import contextlib
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from memzoo._types import Map


def tensors_of(f: Map) -> dict[str, Tensor]:
    """Parameters and buffers of a module by name; nothing for another callable.

    Each module appears once, under its first name, and each of its tensors even if another module holds it too: so
    ``functional_call`` without ``tie_weights`` swaps every place once and puts every place back.
    """
    if not isinstance(f, nn.Module):
        return {}
    return {
        f"{path}.{name}" if path else name: tensor
        for path, module in f.named_modules()
        for name, tensor in chain(module._parameters.items(), module._buffers.items())
        if tensor is not None
    }


def in_dtype(f: Map, dtype: torch.dtype) -> Map:
    """``f`` with its parameters and buffers read as ``dtype``; the module itself is left as it is.

    Any other callable is returned unchanged: its constants are out of reach.
    """
    if not isinstance(f, nn.Module):
        return f
    module = f
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors_of(f).items()
    }
    return lambda x: functional_call(module, tensors, (x,), tie_weights=False)


@torch.no_grad()
def leave_clean(f: Map, x: Tensor) -> None:
    """One ordinary evaluation of a module, so that what its forward keeps in attributes is a plain tensor again."""
    if not isinstance(f, nn.Module):
        return
    parameter = next((p for p in f.parameters() if p.is_floating_point()), x)
    for dtype in (x.dtype, parameter.dtype):
        with contextlib.suppress(RuntimeError, TypeError):  # points may be wider than the module
            f(x[:1].to(dtype))
            return


@torch.no_grad()
def widened(f: Map, x: Tensor) -> tuple[Map, Tensor]:
    """``f`` and ``x`` in float64 where ``f`` can compute in it, else as they are, in the narrower type.

    Constants in float32 refuse a float64 input; a cast inside hides that the digits are lost. Then the arithmetic is
    float32 and every error bound downstream has to say so, which it reads off the dtype of the returned point.
    """
    wide, row = in_dtype(f, torch.float64), x[:1].double()
    shift = 1e-3 * row.abs().max().clamp(min=1e-3) * torch.linspace(0.5, 1.0, row.numel(), dtype=torch.float64)
    between = row + shift.to(row.device).reshape(row.shape)  # these coordinates have digits beyond float32
    try:
        fine, coarse = wide(between), wide(between.float().double())
        told = fine.isfinite() & coarse.isfinite()
        constant = torch.equal(fine, wide(row))  # has no digits to lose
        resolves = fine.dtype == torch.float64 and bool((fine != coarse)[told].any() or not told.any() or constant)
    except Exception:  # whatever a map of float32 alone, or of a bounded range, says to these points
        resolves = False
    if resolves:
        return wide, x.double()
    return f, x.float() if x.dtype == torch.float64 else x
