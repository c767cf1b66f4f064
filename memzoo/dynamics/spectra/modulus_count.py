r"""Bound how many eigenvalues of a matrix, and of every matrix near it, lie outside of a circle around the origin.

The number of eigenvalues outside of a circle cannot change along a path of matrices that have none on it. So a circle
that no eigenvalue of any matrix within :math:`\delta` of A can meet has as many outside for all of these matrices as
for A. Circles in the gaps between the computed moduli are tried, from the threshold outwards and inwards; the
eigenvalues between the two nearest circles that are free, if there are any, cannot be told from each other.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

SUM = 1 - 1e-9
"""Largest sum of relative perturbations with which an eigenvalue is impossible, with room for its own rounding."""
ARCS = 32
"""Arcs of a half circle on which the distance from singularity is computed first."""
EVALUATIONS = 512
"""Most points of a circle at which it is computed."""
GAPS = 8
"""Most gaps that are tried in this way on either side of the threshold."""

Free = Callable[[Float[Tensor, " m"], Int[Tensor, " m"]], Bool[Tensor, " m"]]
"""Tell for which of some rows a circle of the given radius meets no eigenvalue of any matrix near that of the row."""


def bound_count_outside(
    matrices: Float[Tensor, "batch k k"],
    values: Complex[Tensor, "batch k"],
    condition: Float[Tensor, "batch k"],
    delta: Float[Tensor, " batch"],
    threshold: Float[Tensor, " batch"],
) -> Float[Tensor, "batch 2"]:
    """Bound the number of eigenvalues of modulus above ``threshold`` of every matrix within ``delta``.

    Args:
        matrices: Real matrices; zero rows stand for those that are not known.
        values: Their eigenvalues, the largest modulus first.
        condition: Condition number of each eigenvalue; infinity where there is none.
        delta: Norm of the largest perturbation, which covers the backward error of the eigensolver.
        threshold: Radius of the circle.

    Returns:
        The least and the most of them. Cost: a few sums of k^2 terms a matrix; where they do not decide, as for
        defective matrices, at most ``EVALUATIONS`` singular value decompositions for each gap that is tried.
    """
    moduli = values.abs()
    error = torch.where(delta[:, None] > 0, condition * delta[:, None], 0.0)
    half = (values[:, :, None] - values[:, None]).abs() / 2

    def has_small_resolvent(radius: Tensor, rows: Tensor) -> Tensor:
        return _is_free_by_conditions(moduli[rows], half[rows], error[rows], radius)

    def is_far_from_singular(radius: Tensor, rows: Tensor) -> Tensor:
        pairs = zip(radius.tolist(), rows.tolist(), strict=True)
        free = [_is_free_by_singular_values(matrices[row], delta[row].item(), length) for length, row in pairs]
        return torch.tensor(free, dtype=torch.bool, device=rows.device)

    every_row = torch.arange(len(values), device=values.device)
    bounds = _search_gaps(moduli, threshold, every_row, has_small_resolvent, values.shape[-1])
    open_rows = (bounds[:, 0] < bounds[:, 1]).nonzero().flatten()
    if len(open_rows):
        # Conditions say nothing about a defective eigenvalue, the smallest singular value of z - A does.
        again = _search_gaps(moduli[open_rows], threshold[open_rows], open_rows, is_far_from_singular, GAPS)
        least = torch.maximum(bounds[open_rows, 0], again[:, 0])
        most = torch.minimum(bounds[open_rows, 1], again[:, 1])
        bounds[open_rows] = torch.stack([least, most], 1)
    return bounds.double()


def _search_gaps(
    moduli: Tensor, threshold: Tensor, rows: Tensor, is_free: Free, tries: int
) -> Float[Tensor, "batch 2"]:
    """Find the nearest gap on either side of the threshold whose middle circle is free.

    Args:
        moduli: Sorted, the largest first.
        threshold: Radius from which the search starts.
        rows: Names of the rows, by which ``is_free`` is asked.
        is_free: Tells whether a circle is free.
        tries: Most gaps on each side.
    """
    batch, count = moduli.shape
    beyond = torch.full((batch, 1), torch.inf, dtype=moduli.dtype, device=moduli.device)
    edges = torch.cat([beyond, moduli, -beyond], 1)  # edges[s] > r > edges[s + 1]: s eigenvalues are outside of r
    outside = (moduli > threshold[:, None]).sum(1)
    bounds = torch.stack([torch.zeros_like(outside), torch.full_like(outside, count)], 1)
    for side, direction in enumerate((-1, 1)):
        left = torch.arange(batch, device=moduli.device)
        for step in range(tries):
            number = outside[left] + direction * step
            matters = (number > 0) if side == 0 else (number < count)  # 0 and all of them need no proof
            left = left[matters]
            number = number[matters]
            if not len(left):
                break
            outer = edges[left, number]
            inner = edges[left, number + 1]
            start = threshold[left]
            # The circle is in the middle of the part of the gap that is on this side of the threshold.
            outermost = outer if side == 0 else torch.minimum(outer, start)
            innermost = torch.maximum(inner, start) if side == 0 else inner
            free = is_free((innermost + outermost) / 2, rows[left])
            bounds[left[free], side] = number[free]
            left = left[~free]
    return bounds


def _is_free_by_conditions(moduli: Tensor, half: Tensor, error: Tensor, radius: Tensor) -> Bool[Tensor, " m"]:
    r"""Tell where the resolvent is small on a circle, by the conditions of all eigenvalues.

    :math:`\|(z - A)^{-1}\| \le \sum_j \kappa_j / |z - \lambda_j|`, and z is no eigenvalue of A + E while this is below
    :math:`1 / \|E\|` (Trefethen and Embree, Spectra and Pseudospectra, theorem 2.1). Whichever eigenvalue is next to
    z, each other one is at least half as far from z as from that one.
    """
    tiny = torch.finfo(error.dtype).tiny
    away = (moduli - radius[:, None]).abs().clamp(min=tiny)
    itself = torch.eye(moduli.shape[-1], dtype=torch.bool, device=moduli.device)
    others = error[:, None].masked_fill(itself, 0.0)
    rest = (others / torch.maximum(away[:, None], half)).sum(-1)
    return (error / away + rest < SUM).all(-1)


def _is_free_by_singular_values(matrix: Float[Tensor, "k k"], delta: float, radius: float) -> bool:
    r"""Tell whether no matrix within ``delta`` has an eigenvalue on a circle, by :math:`\sigma_{\min}(z - A)`.

    A + E is singular at z only if :math:`\|E\| \ge \sigma_{\min}(z - A)`, which changes by at most the distance between
    two points z. An arc is free if the value in its middle exceeds ``delta`` by half of its length; others are halved.
    The matrix is real, so that half of the circle is enough.
    """
    middles = (torch.arange(ARCS, dtype=torch.float64) + 0.5) * math.pi / ARCS
    half_arc = math.pi / ARCS / 2
    evaluated = 0
    identity = torch.eye(len(matrix), dtype=torch.complex128)
    dense = matrix.detach().cpu().to(torch.complex128)
    rounding = len(matrix) * torch.finfo(torch.float64).eps * (torch.linalg.matrix_norm(dense).item() + radius)
    while len(middles):
        evaluated += len(middles)
        if evaluated > EVALUATIONS:
            return False
        points = torch.polar(torch.full_like(middles, radius), middles)
        smallest = torch.linalg.svdvals(points[:, None, None] * identity - dense)[:, -1] - delta - rounding
        if (smallest <= 0).any():
            return False
        middles = middles[smallest <= radius * half_arc]
        half_arc /= 2
        middles = torch.cat([middles - half_arc, middles + half_arc])
    return True
