"""Compute Jacobians by central differences, for maps that automatic differentiation cannot see through.

Differences need evaluations of the map alone. They hold fewer digits than a derivative, and each comes with an
estimate of its own error: two steps are compared, and the second difference shows a kink between the points.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

STEPS = 11
"""Steps that are tried at each point, in geometric progression."""
DIRECTIONS = 2
"""Random directions along which the steps are tried."""
ROWS = 1024
"""Rows on which the map is evaluated at one time."""
SAFETY = 2.0
"""Factor on the estimated error: it comes from the last two steps alone."""
GOOD = 1e-7
"""Relative error that is good enough: a smaller step is then worth more, because it meets fewer kinks."""
NEAR_LEAST = 10.0
"""Factor on the least error within which a smaller step is preferred."""
SHORTER = (1 / 32, 1 / 1024)
"""Shares of the step that are tried along directions whose error is large, because they meet a kink."""


class Differences(NamedTuple):
    """Jacobians by differences and what they are off by."""

    jacobians: Float[Tensor, "batch out dim"]
    error: Float[Tensor, " batch"]
    """Estimated bound on the Frobenius norm of the error of each Jacobian: truncation, kinks within a step, rounding.
    NaN where the map is not finite."""


class _Quotients(NamedTuple):
    """Difference quotients along some directions, one row a direction."""

    slope: Tensor
    """Derivative along each direction, by extrapolation from two central differences."""
    error: Tensor
    """Estimated error of each of its entries."""


@torch.no_grad()
def compute_jacobians_by_differences(
    f: Callable[[Tensor], Tensor], points: Float[Tensor, "batch *shape"], *, rows: int = ROWS
) -> Differences:
    r"""Compute the Jacobians of a map of batches by central differences of the map itself.

    With the central differences :math:`D(h)` and :math:`D(2h)` the slope is :math:`(4 D(h) - D(2h)) / 3`, whose error
    is of order :math:`h^4` (Richardson). Its estimated error adds up three parts: :math:`|D(2h) - D(h)|`; the second
    differences :math:`S`, of which :math:`4 S(h) - S(2h)` vanishes to order :math:`h^4` for a smooth map and is half of
    the bend at a kink; and the rounding of f(x) and x divided by h. The step of each point is the one of a geometric
    sequence whose estimated error along two random directions is least, because no step suits all maps: a network of
    many kinks needs a small one, single precision a large one.

    Args:
        f: Function from a batch of points (n, \*shape) to a batch of outputs; rows must not interact.
        points: Points at which the Jacobians are computed, in the type of the arithmetic of ``f``.
        rows: Rows on which ``f`` is evaluated at one time.

    Returns:
        Cost: 4 d + 90 evaluations of one row a point, twelve for each direction that meets kinks everywhere.
    """
    columns = max(1, rows // 4)
    jacobians: list[Tensor] = []
    errors: list[Tensor] = []
    for point in points:
        centre = f(point[None]).reshape(-1)
        step = _choose_step(f, point, centre)
        identity = torch.eye(point.numel(), dtype=point.dtype, device=point.device)
        parts = [_take_adapted_differences(f, point, centre, part, step) for part in identity.split(columns)]
        jacobians.append(torch.cat([part.slope for part in parts]).mT)
        entries = torch.cat([part.error for part in parts])
        errors.append(SAFETY * torch.linalg.vector_norm(entries.double()))
    return Differences(torch.stack(jacobians), torch.stack(errors))


def _choose_step(f: Callable[[Tensor], Tensor], point: Tensor, centre: Tensor) -> float:
    """Choose the step at one point by its estimated errors along random directions.

    A step so long that it jumps over the bends of the map may look flat, and its estimated error small. The steps are
    therefore taken from the shortest on, as long as what they say is consistent (Lepski, On a problem of adaptive
    estimation in Gaussian white noise, 1991).
    """
    eps = torch.finfo(point.dtype).eps
    size = max(float(point.abs().max()), float(centre.abs().max()))
    if not 0 < size < math.inf:
        size = 1.0
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(DIRECTIONS, point.numel(), generator=generator, dtype=torch.float64)
    directions = (drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)).to(point)
    # Below eps^(3/4) rounding takes all digits but a quarter; a step beyond eps^(1/8) is as large as the point.
    exponents = torch.linspace(0.75, 0.125, STEPS, dtype=torch.float64)
    lower = upper = None
    tried: list[tuple[float, float, float]] = []  # step, error, slope
    for step in (size * eps**exponents).tolist():
        found = _take_differences(f, point, centre, directions, step)
        error = SAFETY * found.error.double()
        if not error.isfinite().all():  # the step is lost in rounding, or the map is not finite so far away
            continue
        low = found.slope.double() - error
        high = found.slope.double() + error
        lower = low if lower is None else torch.maximum(lower, low)
        upper = high if upper is None else torch.minimum(upper, high)
        if (lower > upper).any():
            break
        tried.append((step, float(error.norm()), float(found.slope.double().norm())))
    if not tried:
        return size * eps**0.5
    least = min(error for _, error, _ in tried)
    return next(step for step, error, slope in tried if error <= max(NEAR_LEAST * least, GOOD * slope))


def _take_adapted_differences(
    f: Callable[[Tensor], Tensor], point: Tensor, centre: Tensor, directions: Tensor, step: float
) -> _Quotients:
    """Compute difference quotients along ``directions``, with shorter steps along those that meet a kink."""
    found = _take_differences(f, point, centre, directions, step)
    for share in SHORTER:
        sizes = torch.linalg.vector_norm(found.slope, dim=1)
        errors = torch.linalg.vector_norm(found.error, dim=1)
        large = (errors > NEAR_LEAST * torch.maximum(errors.median(), GOOD * sizes)).nonzero().flatten()
        if not len(large):
            break
        again = _take_differences(f, point, centre, directions[large], share * step)
        better = torch.linalg.vector_norm(again.error, dim=1) < errors[large]
        found.slope[large[better]] = again.slope[better]
        found.error[large[better]] = again.error[better]
    return found


def _take_differences(
    f: Callable[[Tensor], Tensor], point: Tensor, centre: Tensor, directions: Tensor, step: float
) -> _Quotients:
    """Compute difference quotients with the steps h and 2h along unit ``directions``, one a row."""
    offsets = torch.cat([scale * step * directions for scale in (1, -1, 2, -2)])
    moved = point.reshape(1, -1) + offsets
    images = f(moved.reshape(-1, *point.shape)).reshape(len(moved), -1)
    # The steps as rounded, along their direction.
    taken = ((moved - point.reshape(1, -1)) * directions.repeat(4, 1)).sum(1, keepdim=True)
    ahead, behind, far_ahead, far_behind = images.chunk(4)
    to_ahead, to_behind, to_far_ahead, to_far_behind = taken.chunk(4)

    near = (ahead - behind) / (to_ahead - to_behind)
    far = (far_ahead - far_behind) / (to_far_ahead - to_far_behind)
    # Forward minus backward quotient: S(h) / h and S(2h) / 2h
    near_bend = (ahead - centre) / to_ahead - (behind - centre) / to_behind
    far_bend = (far_ahead - centre) / to_far_ahead - (far_behind - centre) / to_far_behind
    kink = (2 * near_bend - far_bend).abs() / 2  # |4 S(h) - S(2h)| / 4h
    noise = torch.finfo(point.dtype).eps * (centre.abs() + point.abs().max()) / step
    return _Quotients((4 * near - far) / 3, (far - near).abs() + kink + noise)
