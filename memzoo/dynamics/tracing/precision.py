"""Evaluate a map in another floating-point type without changing the user's module.

Networks are trained in float32, but most measurements need the digits of float64. ``torch.func.functional_call``
evaluates a module with cast copies in place of its own parameters and buffers.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from memzoo._types import Map


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


def cast_map(f: Map, dtype: torch.dtype) -> Map:
    """Return ``f`` with its parameters and buffers read as ``dtype``; the module itself does not change.

    Any other callable is returned unchanged, because its constants cannot be reached.
    """
    if not isinstance(f, nn.Module):
        return f
    return partial(functional_call, f, cast_tensors(collect_tensors(f), dtype), tie_weights=False)


@torch.no_grad()
def promote_to_float64(f: Map, x: Tensor) -> tuple[Map, Tensor]:
    """Return ``f`` and ``x`` in float64 where ``f`` can compute in it, otherwise as they are, in the narrower type.

    Constants in float32 refuse a float64 input, and a cast inside ``f`` loses digits without showing it in the type of
    the output. Then the arithmetic is float32, and every error bound that follows must account for it. The bounds read
    the type of the arithmetic from the dtype of the returned points.
    """
    wide = cast_map(f, torch.float64)
    if _keeps_float64_digits(wide, x[:1].double()):
        return wide, x.double()
    return f, x.float() if x.dtype == torch.float64 else x


def _keeps_float64_digits(wide: Map, row: Tensor) -> bool:
    """Tell whether the output of ``wide`` depends on digits of the input that float32 does not hold."""
    size = row.abs().max().clamp(min=1e-3)
    shift = 1e-3 * size * torch.linspace(0.5, 1.0, row.numel(), dtype=torch.float64)
    shifted = row + shift.to(row.device).reshape(row.shape)  # these coordinates have digits beyond float32
    try:
        fine = wide(shifted)
        coarse = wide(shifted.float().double())
        comparable = fine.isfinite() & coarse.isfinite()
        constant = torch.equal(fine, wide(row))  # a constant map has no digits to lose
        differs = (fine != coarse)[comparable].any()
        return fine.dtype == torch.float64 and bool(differs or not comparable.any() or constant)
    except Exception:  # a map of float32 alone, or of a bounded range, may raise anything at these points
        return False
