"""Find the attractors that many starts end in, each certified, without examples to compare them with."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_eps, check_map
from memzoo._types import Map
from memzoo.dynamics.attractors.limit_search import LimitSearch, check_search_limits, iterate_to_rest
from memzoo.dynamics.attractors.limit_sets import LimitSet
from memzoo.dynamics.attractors.quick_certificate import certify_quickly
from memzoo.dynamics.orbits import Orbit, compose_with_itself, iterate
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64, widen_points
from memzoo.errors import InvalidArgumentError

SCALE = 0.05
"""Share of the median norm of the end points that is the default eps."""
SHOWN = 12
"""Attractors in the printed table."""


@dataclass(frozen=True)
class Attractor:
    """A fixed point or a cycle that attracts."""

    points: Float[Tensor, "period *shape"]
    """The fixed point, or the points of the cycle in their order."""
    count: int
    """Number of starts that end there."""
    radius: float
    """Spectral radius there, of f at a fixed point, of its p-fold composition on a cycle of period p."""
    radius_error: float
    """Its error bound; the sum of both is below 1."""

    @property
    def period(self) -> int:
        """Return the period, 1 for a fixed point."""
        return len(self.points)


@dataclass(frozen=True)
class Attractors:
    """What :func:`find_attractors` found; prints as a table."""

    found: tuple[Attractor, ...]
    """Different from each other, the one that most starts reach first."""
    index: Int[Tensor, " batch"]
    """Index into ``found`` of the attractor where each start ends, -1 if it ends at none of them."""
    resting: int
    """Starts that end in a limit that is not certified to attract: a saddle, or a continuum as of the identity."""
    divergent: int
    """Starts whose orbit leaves the range of the floating-point type."""
    moving: int
    """Starts that have not settled, or whose limit could not be certified."""
    eps: float
    """The scale of distances, L2: end points within a hundredth of it form a group at first, of which one is certified.
    A push of a tenth of it tells an isolated fixed point from one of a continuum."""

    def __str__(self) -> str:
        rest = f"{self.resting} rest elsewhere, {self.divergent} diverge, {self.moving} still move"
        lines = [f"{len(self.found)} attractors from {len(self.index)} starts ({rest})"]
        if self.found:
            lines.append(f"{'starts':>8}{'period':>8}{'radius':>9}")
        lines += [f"{one.count:>8}{one.period:>8}{one.radius:>9.3f}" for one in self.found[:SHOWN]]
        if len(self.found) > SHOWN:
            lines.append(f"and {len(self.found) - SHOWN} more")
        return "\n".join(lines)


@leave_no_trace
@torch.no_grad()
def find_attractors(
    f: Map,
    starts: Float[Tensor, "batch *shape"],
    *,
    eps: float | Tensor | None = None,
    steps: int = 1000,
    max_period: int = 16,
    max_limits: int = 256,
) -> Attractors:
    r"""Find the attracting fixed points and cycles that the orbits of ``starts`` end in.

    End points are grouped as in :func:`memzoo.dynamics.census`, and one of each group is polished to the true limit.
    Limits that :func:`memzoo.dynamics.certify` does not call an attractor are only counted. No training example is
    needed. The attractors of a network that memorizes are its training images and its spurious attractors, and this
    function cannot tell one from the other. An attractor that no start reaches is not found.

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``starts``.
        starts: Points where the orbits begin, for instance noise.
        eps: Scale of distances, L2; of several the median counts. 5 % of the median norm of the end points when left
            out.
        steps: Most iterations of each start.
        max_period: Longest cycle looked for.
        max_limits: Most groups that are certified for one period; starts beyond them count as moving.

    Returns:
        Cost: that of a census, and one more certificate for each attractor.

    Raises:
        NonFiniteError: NaN or infinity in the starts or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: ``eps`` not positive, or left out where every orbit ends at the origin; ``max_period`` or
            ``max_limits`` below 1.

    Example:
        >>> found = find_attractors(lambda x: torch.tanh(3 * x), torch.tensor([[0.3], [2.0], [-0.1], [0.0]]), eps=0.1)
        >>> [(one.count, round(one.points.item(), 3)) for one in found.found], found.resting
        ([(2, 0.995), (1, -0.995)], 1)
    """
    check_batch(starts, "starts")
    check_search_limits(max_period, max_limits)
    starts = widen_points(f, starts, "starts")
    check_map(f, starts, promote_to_float64)
    orbit = iterate(f, starts, steps)
    if eps is None:
        scale = _derive_scale(orbit, starts)
    else:
        check_eps(eps)
        scale = torch.as_tensor(eps, dtype=torch.float64).quantile(0.5).item()
    orbit = iterate_to_rest(f, orbit, scale, steps)
    search = LimitSearch(f, orbit.points, None, scale, steps, max_limits)
    search.find_fixed_points(orbit)
    search.find_cycles(~(orbit.converged | orbit.diverged), max_period)

    known = search.limit >= 0
    counts = torch.bincount(search.limit[known], minlength=len(search.found)).tolist()
    attracting = _certify_limits(f, search.found, scale, steps)
    order = sorted(attracting, key=lambda i: -counts[i])
    # The index -1, no limit, reads the last entry.
    rank = torch.full((len(search.found) + 1,), -1, device=starts.device)
    rank[order] = torch.arange(len(order), device=starts.device)
    index = torch.where(orbit.diverged, -1, rank[search.limit])
    return Attractors(
        found=tuple(_describe(search.found[i], counts[i]) for i in order),
        index=index,
        resting=int((known & (index < 0) & ~orbit.diverged).sum()),
        divergent=int(orbit.diverged.sum()),
        moving=int((~known & ~orbit.diverged).sum()),
        eps=scale,
    )


def _derive_scale(orbit: Orbit, starts: Tensor) -> float:
    """Derive the scale of distances from the end points, or from the starts if the end points all vanish."""
    for points in (orbit.points[~orbit.diverged], starts):
        norms = points.flatten(1).double().norm(dim=1)
        if len(norms) and (median := norms.median().item()) > 0:
            return SCALE * median
    raise InvalidArgumentError(
        "eps cannot be derived where starts and end points are zero everywhere; pass eps= or other starts."
    )


def _certify_limits(f: Map, limits: list[LimitSet], eps: float, steps: int) -> list[int]:
    """Find the limits that meet the criteria of a stored training example, each at its own period."""
    attracting: list[int] = []
    for period in {limit.period for limit in limits}:
        rows = [i for i, one in enumerate(limits) if one.period == period and one.attracting and not one.continuum]
        if rows:
            points = torch.stack([limits[i].points[0] for i in rows])
            found = certify_quickly(compose_with_itself(f, period), points, eps, steps=steps)
            attracting += [rows[i] for i in found.attractor.nonzero().flatten().tolist()]
    return sorted(attracting)


def _describe(limit: LimitSet, count: int) -> Attractor:
    """Describe an attractor by the limit that was certified."""
    return Attractor(limit.points, count, limit.radius, limit.radius_error)
