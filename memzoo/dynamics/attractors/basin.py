"""How far from an attractor its basin reaches, estimated from below by random starts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_steps
from memzoo._types import Map
from memzoo.dynamics.orbits import iterate
from memzoo.errors import InvalidArgumentError

GROWTH, BISECTIONS = 24, 5


@dataclass(frozen=True)
class BasinRadius:
    """What :func:`basin_radius` found."""

    radius: Float[Tensor, " n"]
    """L2; 0 where no ball passed."""
    share: float
    """At least this share of the volume of each ball leads to its attractor, at the stated confidence."""


@torch.no_grad()
def basin_radius(
    f: Map,
    attractors: Float[Tensor, "n *shape"],
    tol: float,
    *,
    directions: int = 32,
    confidence: float = 0.95,
    steps: int = 1000,
    seed: int = 0,
) -> BasinRadius:
    r"""Radius of a ball around each attractor that its basin fills, but for a bounded share.

    Doubling and bisection of the radius; a ball passes when ``directions`` fresh points drawn uniformly from it all end
    within ``tol`` of the attractor, and the largest that passed is returned. Were the share of a ball that leads home
    below p, it would pass with probability :math:`p^{directions}` at most; 29 balls are tried at most, hence
    :math:`p = ((1 - confidence) / 29)^{1/directions}`.
    It says nothing about the rest of the basin, which may reach far beyond the ball. In high dimension nearly all of a
    ball lies near its surface.

    Args:
        f: Self-map; modules in eval mode.
        attractors: Attracting fixed points.
        tol: L2 distance at which an orbit has come home.
        directions: Points a test.
        confidence: For each attractor on its own.
        steps: Most iterations of each point.
        seed: Of the private generator.

    Returns:
        Cost: at most 29 times ``n * directions`` orbits; settled ones stop early.

    Raises:
        ValueError: ``tol``, ``directions`` or ``confidence`` out of range.
    """
    check_batch(attractors, "attractors")
    check_steps(steps)
    if not tol > 0 or directions < 1 or not 0 < confidence < 1:
        raise InvalidArgumentError(
            f"basin_radius needs tol > 0, directions >= 1 and 0 < confidence < 1, got tol = {tol}, "
            f"directions = {directions}, confidence = {confidence}; 32 directions at 0.95 are usual."
        )
    generator = torch.Generator().manual_seed(seed)
    flat = attractors.flatten(1)
    count, dim = flat.shape

    def fills(radius: Tensor, rows: Tensor) -> Tensor:
        """Do all of some fresh points in these balls come home?"""
        if not len(rows):
            return torch.zeros(0, dtype=torch.bool, device=flat.device)
        u = torch.randn(len(rows), directions, dim, generator=generator, dtype=torch.float64)
        r = torch.rand(len(rows), directions, 1, generator=generator, dtype=torch.float64) ** (1 / dim)
        u = (u / u.norm(dim=-1, keepdim=True) * r).to(flat)
        starts = flat[rows, None] + radius[rows, None, None].to(flat) * u
        ends = iterate(f, starts.reshape(-1, *attractors.shape[1:]), steps)
        gap = (ends.points.reshape(len(rows), directions, -1) - flat[rows, None]).norm(dim=-1)
        return ((gap < tol) & ~ends.diverged.reshape(gap.shape)).all(1)

    everyone = torch.arange(count, device=flat.device)
    low = torch.zeros(count, dtype=torch.float64, device=flat.device)
    high = torch.full_like(low, torch.inf)
    radius = torch.full_like(low, tol)
    for _ in range(GROWTH):
        open_ = everyone[(low == 0) | high.isinf()]
        if not len(open_):
            break
        passed = fills(radius, open_)
        low[open_[passed]], high[open_[~passed]] = radius[open_[passed]], radius[open_[~passed]]
        radius = torch.where(high.isinf(), 2 * low, torch.where(low == 0, high / 2, radius))
    for _ in range(BISECTIONS):
        radius = (low * torch.where(high.isinf(), low, high)).sqrt()
        split = everyone[(low > 0) & high.isfinite()]
        passed = fills(radius, split)
        low[split[passed]], high[split[~passed]] = radius[split[passed]], radius[split[~passed]]
    return BasinRadius(low, ((1 - confidence) / (GROWTH + BISECTIONS)) ** (1 / directions))
