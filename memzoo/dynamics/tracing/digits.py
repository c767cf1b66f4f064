"""Tell whether a map computes in float64 throughout, by following the digits of its input through its operations."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memzoo._types import Map

WIDE = (torch.float64, torch.complex128)
KNOWN = ("aten", "prims", "prim")
"""Namespaces of operations whose arithmetic has the type of their output."""
ROWS = 4
"""Rows at which the digits of an output are compared."""
SHIFTS = (1e-3, 1e-5, 1e-8)
"""Distances of the points where digits are compared, relative to the largest coordinate; far ones may lie where the map
is flat."""


class _DigitWatch(TorchDispatchMode):
    """Follow an input through all operations: who depends on it, and who lost its digits in a narrower type.

    What is known belongs to the memory of a tensor, so that views and changes in place are followed as well.
    """

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.opaque: bool = False
        """Whether an operation was met whose inner arithmetic cannot be seen."""
        self._lost: dict[int, bool] = {_find_place(source): False}
        self._held: list[object] = [source]  # a place in memory is not reused while its tensor lives

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Execute an operation and note what it does to the digits."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = [self._lost[place] for place in map(_find_place, _list_floats((args, kwargs))) if place in self._lost]
        if inputs:
            self.opaque |= func.namespace not in KNOWN
            for tensor in _list_floats(result):
                place = _find_place(tensor)
                lost = any(inputs) or tensor.dtype not in WIDE
                self._lost[place] = self._lost.get(place, False) or lost
                self._held.append(tensor)
        return result

    def keeps_digits(self, output: Tensor) -> bool | None:
        """Tell whether an output carries the digits of the input; None if that was not seen."""
        if output.dtype not in WIDE:
            return False
        lost = self._lost.get(_find_place(output))
        return None if lost is None or (self.opaque and not lost) else not lost


def _list_floats(values: object) -> list[Tensor]:
    """List the tensors of numbers with digits; comparisons and indices carry none."""
    leaves = tree_leaves(values)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())]


def _find_place(tensor: Tensor) -> int:
    """Return what names the memory of a tensor; a sparse one has several, and is named by itself."""
    if tensor.layout is not torch.strided:
        return -id(tensor)
    return tensor.untyped_storage().data_ptr() or -id(tensor)


@torch.no_grad()
def computes_in_float64(f: Map, x: Tensor) -> bool:
    """Tell whether ``f`` computes in float64 at the points ``x``, which are of that type.

    The operations of one evaluation at the first point show it. Where they do not, because ``f`` leaves torch on the
    way or calls a kernel of its own, the outputs must differ between points that are one in float32.
    """
    try:
        row = x[:1].clone()
        watch = _DigitWatch(row)
        with watch:
            seen = watch.keeps_digits(f(row))
    except Exception:  # a compiled function, or a map of float32 alone
        seen = None
    return _keeps_digits(f, x[:ROWS]) if seen is None else seen


def _keeps_digits(f: Map, x: Tensor) -> bool:
    """Tell whether the output of ``f`` depends on digits of the input that float32 does not hold."""
    size = x.abs().max().clamp(min=1e-3)
    ramp = torch.linspace(0.5, 1.0, x[0].numel(), dtype=torch.float64, device=x.device).reshape(x.shape[1:])
    constant = True
    try:
        middle = f(x)
        if middle.dtype not in WIDE:
            return False
        for shift in SHIFTS:
            shifted = x + shift * size * ramp  # these coordinates have digits beyond float32
            fine = f(shifted)
            coarse = f(shifted.float().double())
            comparable = fine.isfinite() & coarse.isfinite()
            if (fine != coarse)[comparable].any() or not comparable.any():
                return True
            constant &= torch.equal(fine, middle)  # a constant map has no digits to lose
    except Exception:  # a map of float32 alone, or of a bounded range, may raise anything at these points
        return False
    return constant
