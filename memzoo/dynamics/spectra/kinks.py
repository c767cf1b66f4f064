r"""Bound the spectral radius at a kink by what lies on its sides.

At a kink autograd returns the Jacobian of one side, or a convention such as the slope 0 of \|x\| at 0. The map itself
has a Jacobian on each of its sides, and to first order it is :math:`f(x + v) \approx f(x) + J_s v` with the side s on
which v lies. The error bound of the radius is widened until it covers the radii of the sides that were looked at, with
their own bounds. A point and its mirror image through x lie on different sides of every hyperplane through x, so that
each kink is seen from both sides. Sides that open only where several kinks are passed together, in a cone that contains
none of the directions tried, are not seen; which is why the map itself is iterated beside the kink, too.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.checking import Check, draw_pairs, evaluate_rows
from memzoo.dynamics.spectra.full_spectrum import compute_full_spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.leading_spectrum import compute_leading_spectrum
from memzoo.dynamics.spectra.spectrum import Spectrum

MOST_AXES = 1024
"""Dimension up to which offsets along each coordinate are tried."""
FOLLOWED = 4
"""Directions of largest growth in the first step that are followed beside a kink, in addition to the sides."""
SHORT = 12
"""Steps of the map beside a kink, the first half of which turn an offset to where it grows most."""
LONG = 300
"""The same where these steps do not confirm what the sides say."""


def cover_sides(part: Spectrum, jacobians: Jacobians, check: Check, points: Float[Tensor, "batch dim"]) -> Spectrum:
    """Widen the error bound of the radius at kinks until it covers the sides of the kinks.

    Args:
        part: Spectra at the points.
        jacobians: The way to the Jacobians.
        check: What comparing these Jacobians with the map has shown.
        points: Flat points.

    Returns:
        The spectra. Cost: nothing where there is no kink; at each kink 4 spectra (up to 32 in few dimensions), and as
        many evaluations as there are dimensions, twice, and 100 more.
    """
    rows = check.mark("one-sided").nonzero().flatten()
    if not len(rows):
        return part
    at_kink = points[rows]
    directions = draw_pairs(at_kink)
    offsets = check.reach[rows, None].to(points) * directions
    low, high = _bound_radii(jacobians, (at_kink + offsets).flatten(0, 1)).unflatten(1, offsets.shape[:2])
    radius = part.radius[rows]
    own = part.radius_error[rows]
    low = torch.minimum(low.amin(0), radius - own)
    high = torch.maximum(high.amax(0), radius + own)

    f = jacobians.evaluate_flat
    starts = torch.cat([offsets, _choose_growing(f, at_kink, check.reach[rows])])
    growth = torch.zeros_like(radius)
    doubtful = torch.arange(len(rows), device=rows.device)
    for steps in (SHORT, LONG):
        growth[doubtful] = _measure_growth(f, at_kink[doubtful], starts[:, doubtful], steps).to(growth)
        doubtful = doubtful[((high < 1) & ~(growth < 1) | (low > 1) & ~(growth > 1))[doubtful]]
        if not len(doubtful):
            break
    low[doubtful] = torch.minimum(low[doubtful], growth[doubtful])
    high[doubtful] = torch.maximum(high[doubtful], growth[doubtful])
    error = torch.maximum(high - radius, radius - low).nan_to_num(torch.inf)
    return replace(part, radius_error=part.radius_error.index_put((rows,), error))


def _bound_radii(jacobians: Jacobians, points: Tensor) -> Float[Tensor, "2 points"]:
    """Bound the spectral radius at flat points from below and from above; 0 and infinity where it is not finite."""
    x = points.reshape(-1, *jacobians.shape)
    bounds: list[Tensor] = []
    for rows in jacobians.split_into_blocks(x):
        bound = torch.zeros(2, len(rows), dtype=torch.float64, device=x.device)
        bound[1] = torch.inf
        known = evaluate_rows(jacobians.evaluate_flat, points[rows]).isfinite().all(1).nonzero().flatten()
        if len(known):
            known = known[jacobians.find_finite(x[rows[known]])]
        if len(known):
            found = _compute_leading(jacobians, x[rows[known]])
            bound[0, known] = found.radius - found.radius_error
            bound[1, known] = found.radius + found.radius_error
        bounds.append(bound)
    return torch.cat(bounds, 1)


def _compute_leading(jacobians: Jacobians, x: Tensor) -> Spectrum:
    """Compute the leading eigenvalue in the way of the Jacobians."""
    if jacobians.method == "arnoldi":
        return compute_leading_spectrum(jacobians, x, 1, vectors=False)
    return compute_full_spectrum(
        jacobians.form_factors(x),
        jacobians.method,
        1,
        vectors=False,
        transient=False,
        find_triangular=lambda rows: jacobians.find_triangular(x[rows]),
    )


def _choose_growing(f: Map, points: Tensor, reach: Tensor) -> Float[Tensor, "k batch dim"]:
    """Choose the offsets along single coordinates, and along all of them together, that grow most in one step.

    A side may open in a narrow cone around such a direction.
    """
    dim = points.shape[1]
    axes = torch.full_like(points[:1], dim**-0.5)
    if dim <= MOST_AXES:
        axes = torch.cat([axes, torch.eye(dim, dtype=points.dtype, device=points.device)])
    axes = torch.cat([axes, -axes])
    chosen: list[Tensor] = []
    for point, image, length in zip(points, evaluate_rows(f, points), reach.to(points), strict=True):
        grown = torch.linalg.vector_norm(evaluate_rows(f, point + length * axes) - image, dim=1)
        largest = grown.nan_to_num(torch.inf).topk(min(FOLLOWED, len(axes))).indices
        chosen.append(length * axes[largest])
    return torch.stack(chosen, 1)


def _measure_growth(f: Map, points: Tensor, starts: Float[Tensor, "k batch dim"], steps: int) -> Tensor:
    r"""Measure by which factor offsets grow a step, at most, under :math:`v \mapsto f(x + v) - f(x)`.

    Beside a kink this map is not linear, so that no matrix has its growth. Each offset is brought back to its length
    after each step, as in the power iteration.
    """
    offset = starts
    centre = evaluate_rows(f, points)
    length = torch.linalg.vector_norm(starts, dim=2, keepdim=True)
    factors: list[Tensor] = []
    for _ in range(steps):
        images = evaluate_rows(f, (points + offset).flatten(0, 1)).reshape(offset.shape)
        offset = images - centre
        size = torch.linalg.vector_norm(offset, dim=2, keepdim=True)
        factors.append((size / length).double().squeeze(2))
        offset = offset * torch.where(size > 0, length / size, 0.0)
    late = torch.stack(factors[steps // 2 :])
    return late.log().mean(0).exp().amax(0)
