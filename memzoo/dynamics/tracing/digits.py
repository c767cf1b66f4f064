"""Tell whether a map computes in float64 throughout, by the types of its operations or the noise of its values."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memzoo._attempt import Attempt
from memzoo._types import Map

WIDE = (torch.float64, torch.complex128)
KNOWN = ("aten", "prims", "prim")
"""Namespaces of operations whose arithmetic has the type of their output."""
LEAVES = (torch.ops.aten._local_scalar_dense.default,)
"""Operations whose result is a number of Python."""
MOVED = 1e-3
"""Distance of the second point at which operations are watched, relative to the spread of the coordinates."""
STEP = 3.3e-8
"""Step of differences relative to the largest coordinate: between a quarter and a half of a unit in its last place in
float32, so that some of the steps change it and others do not."""
ORDER = 6
"""Order of the differences: those of a smooth map vanish, and those of rounding do not."""
SHIFTS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Distances of the points where the noise is measured, relative to the spread of the coordinates: data lie at kinks."""
NOISE = 1e-12
"""Relative noise from which on some of the arithmetic is narrower than float64."""


class _DigitWatch(TorchDispatchMode):
    """Follow an input through all operations: who depends on it, and who lost its digits in a narrower type.

    What is known belongs to the memory of a tensor, so that views and changes in place are followed as well.
    """

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.opaque: bool = False
        """Whether an operation was met whose inner arithmetic or whose result cannot be seen."""
        self.strangers: list[float] = []
        """Sums of arguments that come from elsewhere: constants, or what a library outside of torch returned."""
        self._lost: dict[int, bool] = {_find_place(source): False}
        self._held: list[object] = [source]  # a place in memory is not reused while its tensor lives

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Execute an operation and note what it does to the digits."""
        kwargs = kwargs or {}
        tensors = _list_floats((args, kwargs))
        inputs = [self._lost[place] for place in map(_find_place, tensors) if place in self._lost]
        self.strangers += [_add_up(tensor) for tensor in tensors if _find_place(tensor) not in self._lost]
        result = func(*args, **kwargs)
        if inputs:
            self.opaque |= func.namespace not in KNOWN or func in LEAVES
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


def _add_up(tensor: Tensor) -> float:
    """Return the sum of all entries, which tells the contents of a place in memory at two times apart."""
    total = float(tensor.real.sum(dtype=torch.float64)) if tensor.numel() else 0.0
    return 0.0 if math.isnan(total) else total  # NaN is not equal to itself


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
def computes_in_float64(f: Map, x: Float[Tensor, "batch *shape"]) -> bool:
    """Tell whether ``f`` computes in float64 at the first of the points ``x``, which are of that type.

    The operations of two evaluations show it. Where they do not, because ``f`` leaves torch on the way or calls a
    kernel of its own, the noise of its values does.

    Returns:
        Cost: 2 evaluations of one row; at most 49 more where ``f`` leaves torch.
    """
    row = x[:1]
    with Attempt(Exception):  # a compiled function, or a map of float32 alone
        watch, seen = _watch_digits(f, row)
        if seen is False:
            return False
        if seen:
            other, _ = _watch_digits(f, row + MOVED * _point_inside(row))
            # What came from elsewhere and is the same at another point does not carry the input.
            if watch.strangers == other.strangers:
                return True
    return _has_noise_of_float64(f, row)


def _watch_digits(f: Map, row: Tensor) -> tuple[_DigitWatch, bool | None]:
    """Evaluate ``f`` under a watch, and tell whether it was seen to keep the digits."""
    source = row.clone()
    watch = _DigitWatch(source)
    with watch:
        output = f(source)
    return watch, watch.keeps_digits(output)


def _point_inside(row: Tensor) -> Tensor:
    """Return an offset that moves each coordinate by another share of the way to their mean, or all of them up."""
    generator = torch.Generator().manual_seed(0)
    share = 0.5 + torch.rand(row.shape, generator=generator, dtype=torch.float64).to(row) / 2
    inward = row.mean() - row
    return share * torch.where(inward == 0, row.abs().max().clamp(min=1e-3), inward)


def _has_noise_of_float64(f: Map, row: Tensor) -> bool:
    """Tell whether the values of ``f`` have no more noise than float64 makes.

    A map that changes on a scale below the steps looks as noisy as one of float32. At shorter steps the first is smooth
    and the second rests.
    """
    away = [_measure_noise(f, row, shift, STEP, along=index % 2 == 1) for index, shift in enumerate(SHIFTS)]
    away = [noise for noise in away if noise < torch.inf]
    if any(away):
        return max(away) < NOISE
    # The map is flat or cannot be evaluated there.
    noise = _measure_noise(f, row, 0.0, STEP)
    if noise >= NOISE:
        return 0 < _measure_noise(f, row, 0.0, STEP / 100) < NOISE
    return noise > 0 or _is_constant(f, row)


def _is_constant(f: Map, row: Tensor) -> bool:
    """Tell whether ``f`` has one value, and no digits to lose; one that rests here and there only may be rounded."""
    with Attempt(Exception):  # a map of a bounded range may raise anything
        values = f(torch.cat([row + shift * _point_inside(row) for shift in (0.0, *SHIFTS)]))
        return bool((values == values[:1]).all())
    return True


def _measure_noise(f: Map, row: Tensor, shift: float, step: float, *, along: bool = False) -> float:
    r"""Measure the noise of the values of ``f`` near a point, relative to their size or to what a step changes.

    Differences of order k of values at equal steps have :math:`\binom{2k}{k}` times the variance of their rounding, and
    next to nothing of a smooth map (Moré and Wild, Estimating computational noise, 2011).

    Args:
        f: Self-map.
        row: The point.
        shift: How far from it the noise is measured.
        step: Step relative to the largest coordinate.
        along: Step towards the origin, which changes all sums and norms, and not towards the mean of the coordinates.

    Returns:
        0 for a constant, infinity where ``f`` cannot be evaluated in float64.
    """
    inside = _point_inside(row)
    direction = -row if along and row.any() else inside
    size = row.abs().max().clamp(min=1e-3)
    lengths = step * size * torch.arange(ORDER + 1).to(row)
    values = None
    with Attempt(Exception):  # a map of float32 alone, or of a bounded range, may raise anything
        offsets = lengths.reshape(-1, *[1] * (row.ndim - 1)) * direction / direction.abs().max()
        # One by one: a number of Python that f takes from a batch would be that of all rows.
        values = torch.cat([f(point) for point in (row + shift * inside + offsets).split(1)])
    if values is None or values.dtype not in WIDE:
        return torch.inf
    change = values.diff(dim=0).abs().max()
    if change == 0:
        return 0.0
    # The input itself is rounded, which changes the values by their slope times its size.
    scale = values.abs().max() + change / step
    noise = values.diff(n=ORDER, dim=0).abs().max() / math.comb(2 * ORDER, ORDER) ** 0.5
    return float((noise / scale).nan_to_num(torch.inf).clamp(min=torch.finfo(torch.float64).tiny))
