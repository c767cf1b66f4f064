"""The same map in another floating-point type, without touching the user's module."""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from memzoo._types import Map


def in_dtype(f: Map, dtype: torch.dtype) -> Map:
    """``f`` with its parameters and buffers read as ``dtype``; the module itself is left as it is.

    Any other callable is returned unchanged: its constants are out of reach.
    """
    if not isinstance(f, nn.Module):
        return f
    module = f
    tensors = {
        name: tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()
        for name, tensor in chain(module.named_parameters(), module.named_buffers())
    }
    return lambda x: functional_call(module, tensors, (x,))


def widened(f: Map, x: Tensor) -> tuple[Map, Tensor]:
    """``f`` and ``x`` in float64 where ``f`` can compute in it, else as they came.

    A closure over float32 constants refuses a float64 input or returns float32; then the arithmetic is float32 and
    every error bound downstream has to say so, which it reads off the dtype of the returned point.
    """
    if isinstance(f, nn.Module):
        return in_dtype(f, torch.float64), x.double()
    try:
        wide = f(x.double()).dtype == torch.float64
    except RuntimeError:
        wide = False
    return f, x.double() if wide else x
