"""Accelerate the convolutions of a map for long orbits.

The traced graph of a network adds up the same numbers in another order (:mod:`memzoo.dynamics.tracing.convolution`),
which takes a quarter of the time on a CPU. The results differ by rounding.
"""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import vmap

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo.dynamics.tracing.convolution import aten, convolve_upsampled, move_channels_last
from memzoo.dynamics.tracing.precision import cast_map, collect_constants
from memzoo.dynamics.tracing.traced_graph import trace_map

PAYS = 10**6
"""Numbers computed by all steps together from which on a trace pays."""
ROUNDING = 1e3
"""Units in the last place of |f(x)| by which another order of sums may change it."""


def accelerate_convolutions(f: Map, x: Tensor, steps: int) -> Map | None:
    """Return ``f`` with faster convolutions if that saves more time in ``steps`` steps than the trace costs, else None.

    The result was compared with ``f`` at a few of the points ``x`` only. Who iterates it compares it with ``f`` again
    where the orbit ends, by :func:`outputs_agree`.
    """
    if x.numel() * steps < PAYS or not _has_filters(f, x):
        return None
    constants = collect_constants(f)
    if any(tensor.is_floating_point() and tensor.dtype != x.dtype for tensor in constants.values()):
        return None
    return _find_fast_map(f, f, constants, x)


def accelerate_convolutions_in_dtype(f: Map, x: Tensor, dtype: torch.dtype) -> Map | None:
    """Return the same with the parameters of ``f`` read as ``dtype``, that of ``x``, whatever the number of steps."""
    if not _has_filters(f, x):
        return None
    return _find_fast_map(f, cast_map(f, dtype), collect_constants(f, dtype), x)


def _has_filters(f: Map, x: Tensor) -> bool:
    """Tell whether a module on a CPU takes images and holds a tensor of the shape of filters."""
    if not isinstance(f, nn.Module) or x.ndim != 4 or x.device.type != "cpu":
        return False
    return any(tensor.ndim == 4 for tensor in chain(f.parameters(), f.buffers()))


def _find_fast_map(f: Map, expected: Map, constants: dict[str, Tensor], x: Tensor) -> Map | None:
    """Find the way to execute the trace of ``f`` on a batch that agrees with ``expected`` at a few points.

    All rows are taken in one call if the operations do not hold the shape of one row, otherwise row by row.
    """
    graph = trace_map(f, x[:1].detach(), constants)
    fast_operations = {move_channels_last, convolve_upsampled}
    if graph is None or not any(node.target in fast_operations for node in graph.nodes):
        return None
    function = graph.extract(constants, [graph.source], [graph.target])
    candidates: list[Callable[[Tensor], Tensor]] = [lambda rows: function(rows)[0]]
    # Row by row, a normalisation of groups takes several passes, which cost more than the convolutions save.
    if not any(node.target is aten.native_group_norm.default for node in graph.nodes):
        candidates.append(vmap(lambda row: function(row[None])[0][0]))
    points = x[:: max(1, len(x) // 3)][:4].detach()
    points = torch.cat([points, points.flip(0) * 0.9])  # several rows, even of a batch of one
    for candidate in candidates:
        with Attempt(RuntimeError):  # an operation holds the shape of one row
            if outputs_agree(candidate, expected, points):
                return candidate
    return None


@torch.no_grad()
def outputs_agree(g: Map, f: Map, x: Tensor, block: int = 1024) -> bool:
    """Tell whether both maps send all points ``x`` to the same points, up to rounding."""
    for rows in x.split(block):
        ours = g(rows)
        true = f(rows)
        if ours.shape != true.shape or not _equal_up_to_rounding(ours, true):
            return False
    return True


def _equal_up_to_rounding(ours: Tensor, true: Tensor) -> bool:
    """Tell whether the rows are equal up to rounding, or not finite in both."""
    both_finite_or_not = ours.flatten(1).isfinite().all(1) == true.flatten(1).isfinite().all(1)
    gap = (ours - true).flatten(1).norm(dim=1)
    tolerance = ROUNDING * torch.finfo(true.dtype).eps * true.flatten(1).norm(dim=1)
    close = (gap <= tolerance) | ~gap.isfinite()
    return bool((both_finite_or_not & close).all())
