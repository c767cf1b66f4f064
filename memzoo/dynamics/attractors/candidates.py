"""Certify points where orbits end: is there a limit, and is it isolated or one of a continuum?"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.attractors.certification import REACH
from memzoo.dynamics.attractors.continua import ROUNDING, moves_along, resolve_radius
from memzoo.dynamics.attractors.quick_certificate import certify_quickly
from memzoo.dynamics.spectra import spectrum
from memzoo.errors import NonFiniteError

PUSHED = ("one-sided", "resting")
"""Derivatives with which a radius below 1 alone makes no attractor."""


@dataclass(frozen=True)
class Candidate:
    """The certified limit of one end point."""

    point: Float[Tensor, " *shape"]
    radius: float
    radius_error: float
    location_error: float
    continuum: bool

    @property
    def contraction(self) -> float:
        """Return how far the radius is from 1 beyond its error bound, 0 if it may be 1 or is not known."""
        return max(abs(1 - self.radius) - self.radius_error, 0.0) if math.isfinite(self.radius) else 0.0

    @property
    def unstable(self) -> bool:
        """Tell whether the radius is above 1 beyond its error bound."""
        return self.radius - self.radius_error > 1


def certify_candidates(
    f: Map, points: Float[Tensor, "m *shape"], settled: Bool[Tensor, " m"], eps: float, steps: int
) -> list[Candidate | None]:
    """Certify the limit of each point under ``f``; None if the orbit is not seen to end in one.

    Args:
        f: Self-map, for cycles the p-fold composition.
        points: End points of orbits.
        settled: Which of these orbits have come to rest.
        eps: Scale of distances, L2.
        steps: Most iterations of each point.
    """
    try:
        return _certify_batch(f, points, settled, eps, steps)
    except NonFiniteError:  # a point without a finite Jacobian must not spoil the others
        if len(points) == 1:
            return [None]
        single = zip(points.split(1), settled.split(1), strict=True)
        return [found for point, rests in single for found in certify_candidates(f, point, rests, eps, steps)]


def _certify_batch(f: Map, points: Tensor, settled: Tensor, eps: float, steps: int) -> list[Candidate | None]:
    """Certify all points in one batch.

    If an eigenvalue is 1 up to rounding, the place of the limit depends on the rounding. Then the limit is taken to be
    where the orbit has settled: the arithmetic of the orbits decides.
    """
    found = certify_quickly(f, points, eps, steps=steps)
    limits = found.points
    radius = found.radius
    error = found.radius_error.nan_to_num(0.0, posinf=torch.inf)
    unexplained = (settled & ~found.fixed).nonzero().flatten()
    # An orbit may rest by rounding where f has no fixed point; then the radius at that place says what it is.
    if len(unexplained):
        local = spectrum(f, points[unexplained], top=1)
        limits[unexplained] = points[unexplained]
        radius[unexplained] = local.radius
        error[unexplained] = local.radius_error
    # Around 1 the radius is known only up to the rounding of the orbits.
    least_error = error.clamp(min=resolve_radius(points.dtype))
    neutral = (radius - 1).abs() <= least_error  # False if the radius is unknown, NaN
    error = torch.where(neutral, least_error, error)
    continuum = torch.zeros_like(found.fixed)
    if neutral.any():
        continuum[neutral] = _lie_in_continua(f, limits[neutral], eps, steps)
    # At a kink, or where the outputs rest, the radius says nothing of what is beside the point: pushes decide.
    pushed = torch.tensor([word in PUSHED for word in found.derivative], device=error.device)
    error = error.masked_fill(found.fixed & pushed & ~found.returns, torch.inf)
    known = ((found.fixed | neutral) & radius.isfinite()).tolist()
    location_error = torch.where(found.fixed, found.location_error, 0.0).nan_to_num(0.0, posinf=torch.inf)
    values = zip(limits, radius.tolist(), error.tolist(), location_error.tolist(), continuum.tolist(), strict=True)
    return [Candidate(*value) if certified else None for certified, value in zip(known, values, strict=True)]


def _lie_in_continua(f: Map, points: Float[Tensor, "m *shape"], eps: float, steps: int) -> Bool[Tensor, " m"]:
    """Tell whether a push in a random direction comes to rest elsewhere nearby, at a true fixed point.

    This decides about limits that attract so slowly from aside that pushed orbits do not come to rest: Newton's method
    leads the pushed points back to the continuum.
    """
    u = torch.randn(points.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    push = (u / u.norm()).to(points)
    found = certify_quickly(f, points + REACH * eps * push, eps, steps=steps)
    moved = (found.points - points).flatten(1).double().norm(dim=1)
    rounding = ROUNDING * torch.finfo(points.dtype).eps * points.flatten(1).double().norm(dim=1)
    # A slow orbit on its way back has a larger residual than rounding explains.
    elsewhere = (found.residual <= rounding) & (moved > 1e-5 * eps + rounding) & (moved < eps)
    return elsewhere & moves_along(f, points, found.points)
