"""The attractors that many starts end in, each certified, with no example to compare them with."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_eps
from memzoo._types import Map
from memzoo.dynamics.attractors.certificate import certify
from memzoo.dynamics.attractors.limit_sets import LimitSearch, LimitSet
from memzoo.dynamics.orbits import Orbit, iterate, power
from memzoo.errors import InvalidArgumentError

SCALE = 0.05  # of the median norm of the end points: the default eps
SHOWN = 12  # attractors in the printed table


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
        """1 for a fixed point."""
        return len(self.points)


@dataclass(frozen=True)
class Attractors:
    """What :func:`find_attractors` found; prints as a table."""

    found: tuple[Attractor, ...]
    """Different from each other, the one of most starts first."""
    index: Int[Tensor, " batch"]
    """Into ``found``: where each start ends, -1 for nowhere of it."""
    resting: int
    """Starts that end in a limit not certified to attract: a saddle, a continuum such as that of the identity."""
    divergent: int
    """Starts whose orbit leaves the range of the floating-point type."""
    moving: int
    """Starts that have not settled, or whose limit could not be certified."""
    eps: float
    """The scale of distances, L2: end points within a hundredth of it are taken for one, and then certified."""

    def __str__(self) -> str:
        rest = f"{self.resting} rest elsewhere, {self.divergent} diverge, {self.moving} still move"
        lines = [f"{len(self.found)} attractors from {len(self.index)} starts ({rest})"]
        lines += [f"{'starts':>8}{'period':>8}{'radius':>9}"] if self.found else []
        lines += [f"{one.count:>8}{one.period:>8}{one.radius:>9.3f}" for one in self.found[:SHOWN]]
        return "\n".join(lines + [f"and {len(self.found) - SHOWN} more"] * (len(self.found) > SHOWN))


@torch.no_grad()
def find_attractors(
    f: Map,
    starts: Float[Tensor, "batch *shape"],
    *,
    eps: float | None = None,
    steps: int = 1000,
    max_period: int = 16,
    max_limits: int = 256,
) -> Attractors:
    r"""The attracting fixed points and cycles that the orbits of ``starts`` end in.

    End points are grouped as in :func:`memzoo.dynamics.census`, one of each group is polished to the true limit, and
    what :func:`memzoo.dynamics.certify` does not call an attractor is only counted. No training example is needed: of
    a network that memorizes, these are its training images and its spurious attractors, and nothing here tells one from
    the other. What no start reaches is not found.

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``starts``.
        starts: Where the orbits begin, noise for instance.
        eps: Scale of distances, L2; 5 % of the median norm of the end points when left out.
        steps: Most iterations of each start.
        max_period: Longest cycle looked for.
        max_limits: Most groups that are certified for one period; starts beyond them count as moving.

    Returns:
        Cost: that of a census, and one certificate more an attractor.

    Raises:
        NonFiniteError: NaN or infinity in the starts or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: ``eps`` not positive, or left out where every orbit ends at the origin.

    Example:
        >>> found = find_attractors(lambda x: torch.tanh(3 * x), torch.tensor([[0.3], [2.0], [-0.1], [0.0]]), eps=0.1)
        >>> [(one.count, round(one.points.item(), 3)) for one in found.found], found.resting
        ([(2, 0.995), (1, -0.995)], 1)
    """
    check_batch(starts, "starts")
    orbit = iterate(f, starts, steps)
    eps = _scale(orbit, starts) if eps is None else eps
    check_eps(eps)
    search = LimitSearch(f, orbit.points, starts[:1], eps, steps, max_limits)  # a start for want of an example
    search.find_fixed_points(orbit)
    search.find_cycles(~(orbit.converged | orbit.diverged), max_period)

    counts = torch.bincount(search.limit[search.limit >= 0], minlength=len(search.found)).tolist()
    certified = _certified(f, search.found, eps, steps)
    order = sorted((i for i, yes in enumerate(certified) if yes), key=lambda i: -counts[i])
    rank = torch.full((len(search.found) + 1,), -1, device=starts.device)  # the last entry is that of no limit, -1
    rank[order] = torch.arange(len(order), device=starts.device)
    known = search.limit >= 0
    index = torch.where(orbit.diverged, -1, rank[search.limit])
    return Attractors(
        found=tuple(_attractor(search.found[i], counts[i]) for i in order),
        index=index,
        resting=int((known & (index < 0) & ~orbit.diverged).sum()),
        divergent=int(orbit.diverged.sum()),
        moving=int((~known & ~orbit.diverged).sum()),
        eps=eps,
    )


def _scale(orbit: Orbit, starts: Tensor) -> float:
    """A length to measure distances with: of the end points, or of the starts where those all vanish."""
    for points in (orbit.points[~orbit.diverged], starts):
        norms = points.flatten(1).double().norm(dim=1)
        if len(norms) and (median := norms.median().item()) > 0:
            return SCALE * median
    raise InvalidArgumentError(
        "eps cannot be derived where starts and end points are zero everywhere; pass eps= or other starts."
    )


def _certified(f: Map, limits: list[LimitSet], eps: float, steps: int) -> list[bool]:
    """Which limits attract, by the criteria that a training example has to meet, each judged at its own period."""
    verdict = [False] * len(limits)
    for period in {limit.period for limit in limits}:
        rows = [i for i, one in enumerate(limits) if one.period == period and one.attracting and not one.continuum]
        if rows:
            found = certify(power(f, period), torch.stack([limits[i].points[0] for i in rows]), eps, steps=steps)
            for i, attractor in zip(rows, cast(list[bool], found.attractor.tolist()), strict=True):
                verdict[i] = attractor
    return verdict


def _attractor(limit: LimitSet, count: int) -> Attractor:
    return Attractor(limit.points, count, limit.radius, limit.radius_error)
