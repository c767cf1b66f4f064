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


class Differences(NamedTuple):
    """Jacobians by differences and what they are off by."""

    jacobians: Float[Tensor, "batch out dim"]
    error: Float[Tensor, " batch"]
    """Estimated bound on the Frobenius norm of the error of each Jacobian: truncation, kinks within a step, rounding.
    NaN where the map is not finite."""
    steps: Float[Tensor, " batch"]
    """Step at each point, in the units of the points."""


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
        Cost: 4 d + 90 evaluations of one row a point, and the Jacobians.
    """
    columns = max(1, rows // 4)
    jacobians: list[Tensor] = []
    errors: list[Tensor] = []
    steps: list[Tensor] = []
    for point in points:
        centre = f(point[None]).reshape(-1)
        step = _choose_step(f, point, centre)
        identity = torch.eye(point.numel(), dtype=point.dtype, device=point.device)
        parts = [_take_differences(f, point, centre, part, step) for part in identity.split(columns)]
        jacobians.append(torch.cat([part.slope for part in parts]).mT)
        entries = torch.cat([part.error for part in parts])
        errors.append(SAFETY * torch.linalg.vector_norm(entries.double()))
        steps.append(torch.tensor(step, dtype=torch.float64, device=point.device))
    return Differences(torch.stack(jacobians), torch.stack(errors), torch.stack(steps))


def _choose_step(f: Callable[[Tensor], Tensor], point: Tensor, centre: Tensor) -> float:
    """Choose the step at one point by the least estimated error along random directions."""
    eps = torch.finfo(point.dtype).eps
    size = max(float(torch.linalg.vector_norm(point.double())), float(torch.linalg.vector_norm(centre.double())))
    if not (0 < size < math.inf):
        size = 1.0
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(DIRECTIONS, point.numel(), generator=generator, dtype=torch.float64)
    directions = (drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)).to(point)
    # Below eps^(3/4) rounding takes all digits but a quarter; a step beyond eps^(1/8) is as large as the point.
    exponents = torch.linspace(0.75, 0.125, STEPS, dtype=torch.float64)
    best = size * eps**0.5
    least = math.inf
    for step in (size * eps**exponents).tolist():
        error = float(torch.linalg.vector_norm(_take_differences(f, point, centre, directions, step).error.double()))
        if error < least:  # False for NaN: the map is not finite so far away
            best = step
            least = error
    return best


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
