"""Estimate from below how far from an attractor its basin reaches, by random starts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_steps
from memzoo._types import Map
from memzoo.dynamics.orbits import iterate
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64, widen_points
from memzoo.errors import InvalidArgumentError

GROWTH = 24
"""Doublings or halvings of the first radius."""
BISECTIONS = 5
"""Balls that are tried between the largest that passed and the smallest that did not."""


@dataclass(frozen=True)
class BasinRadius:
    """What :func:`basin_radius` found."""

    radius: Float[Tensor, " n"]
    """L2; 0 where no ball passed."""
    share: float
    """At least this share of the volume of each ball leads to its attractor, at the stated confidence."""


@leave_no_trace
@torch.no_grad()
def basin_radius(
    f: Map,
    attractors: Float[Tensor, "n *shape"],
    tol: float | Float[Tensor, " n"],
    *,
    directions: int = 32,
    confidence: float = 0.95,
    steps: int = 1000,
    seed: int = 0,
) -> BasinRadius:
    r"""Estimate the radius of a ball around each attractor that its basin fills, except for a bounded share.

    The radius is doubled and then bisected. A ball passes when ``directions`` new points drawn uniformly from it all
    end within ``tol`` of the attractor; the largest ball that passed is returned. If the share of a ball that leads to
    the attractor were below p, it would pass with probability :math:`p^{directions}` at most. At most 29 balls are
    tried, hence :math:`p = ((1 - confidence) / 29)^{1/directions}`.
    The radius says nothing about the rest of the basin, which may reach far beyond the ball. In high dimension nearly
    all of a ball lies near its surface.

    Args:
        f: Self-map; modules in eval mode.
        attractors: Attracting fixed points.
        tol: L2 distance from the attractor within which an orbit has to end; one for all, or one for each.
        directions: Random points in each ball that is tested.
        confidence: Confidence of the statement about each single attractor.
        steps: Most iterations of each point.
        seed: Seed of the points, which have a generator of their own.

    Returns:
        Cost: at most 29 times ``n * directions`` orbits; settled ones stop early.

    Raises:
        ValueError: ``tol``, ``directions`` or ``confidence`` out of range.
    """
    check_batch(attractors, "attractors")
    check_steps(steps)
    near = torch.as_tensor(tol, dtype=torch.float64, device=attractors.device).expand(len(attractors))
    if not (near > 0).all() or directions < 1 or not 0 < confidence < 1:
        raise InvalidArgumentError(
            f"basin_radius needs tol > 0, directions >= 1 and 0 < confidence < 1, got tol = {tol}, "
            f"directions = {directions}, confidence = {confidence}; 32 directions at 0.95 are usual."
        )
    attractors = widen_points(f, attractors, "attractors")
    check_map(f, attractors, promote_to_float64)
    generator = torch.Generator().manual_seed(seed)
    flat = attractors.flatten(1)

    def try_balls(radius: Tensor, rows: Tensor) -> None:
        """Raise ``low`` to the radii of the balls that pass, and lower ``high`` to the others."""
        if not len(rows):
            return
        starts = flat[rows, None] + _draw_from_balls(radius[rows], directions, flat, generator)
        orbit = iterate(f, starts.reshape(-1, *attractors.shape[1:]), steps)
        gap = (orbit.points.reshape(starts.shape) - flat[rows, None]).norm(dim=-1)
        passed = ((gap < near[rows, None]) & ~orbit.diverged.reshape(gap.shape)).all(1)
        low[rows[passed]] = radius[rows[passed]]
        high[rows[~passed]] = radius[rows[~passed]]

    # A ball of radius low passed, one of radius high did not; 0 and infinity stand for "none yet".
    every_row = torch.arange(len(flat), device=flat.device)
    low = torch.zeros(len(flat), dtype=torch.float64, device=flat.device)
    high = torch.full_like(low, torch.inf)
    radius = near.clone()
    for _ in range(GROWTH):
        unbounded = every_row[(low == 0) | high.isinf()]
        if not len(unbounded):
            break
        try_balls(radius, unbounded)
        # Double until a ball fails, halve until a ball passes.
        shrunk = torch.where(low == 0, high / 2, radius)
        radius = torch.where(high.isinf(), 2 * low, shrunk)
    for _ in range(BISECTIONS):
        # The geometric mean halves the ratio of the two radii on a logarithmic scale.
        radius = (low * torch.where(high.isinf(), low, high)).sqrt()
        try_balls(radius, every_row[(low > 0) & high.isfinite()])
    return BasinRadius(low, ((1 - confidence) / (GROWTH + BISECTIONS)) ** (1 / directions))


def _draw_from_balls(
    radius: Float[Tensor, " m"], count: int, flat: Tensor, generator: torch.Generator
) -> Float[Tensor, "m count d"]:
    """Draw ``count`` points uniformly from each ball around the origin, in the type and on the device of ``flat``.

    The distance from the centre of a uniform point of the unit ball is distributed as :math:`u^{1/d}`.
    """
    dim = flat.shape[1]
    direction = torch.randn(len(radius), count, dim, generator=generator, dtype=torch.float64)
    distance = torch.rand(len(radius), count, 1, generator=generator, dtype=torch.float64) ** (1 / dim)
    points = (direction / direction.norm(dim=-1, keepdim=True) * distance).to(flat)
    return radius[:, None, None].to(flat) * points
