"""Fixed points and cycles that orbits end in, each certified once."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.attractors.certificate import certify
from memzoo.dynamics.attractors.clusters import BLOCK, clusters
from memzoo.dynamics.orbits import SETTLED, Orbit, nearest, power
from memzoo.dynamics.spectra import spectrum
from memzoo.errors import NonFiniteError

STILL = 0.01  # times eps: steps below it may be the end of an orbit, end points this close are one candidate
REACH = 0.1  # times eps: how far from a limit an end point is taken to belong to it, as in the certificate
AT_ONCE = 64  # candidates certified before asking whether they are a continuum
ROUNDING = 64  # units in the last place, relative: what the orbits' own arithmetic cannot tell from nothing
SAME = 1e-5  # relative distance below which two certified limits are one


@dataclass(frozen=True)
class LimitSet:
    """A fixed point or a cycle in which orbits end."""

    kind: Literal["training", "spurious", "cycle"]
    """Training: the attracting fixed point of an example, within ``eps`` of it. Spurious: any other fixed point."""
    example: int
    """Index of that training example, -1 for the other kinds."""
    points: Float[Tensor, "period *shape"]
    """The fixed point, or the points of the cycle in their order."""
    radius: float
    """Spectral radius there, of f at a fixed point, of its p-fold composition on a cycle of period p."""
    radius_error: float
    """Its error bound; around 1 at least what the arithmetic of the orbits resolves."""
    offset: float
    """L2 distance to the nearest training example (of a cycle: the smallest)."""
    continuum: bool
    """Not isolated: a small push ends at another such limit (a linear projection, say). All limits of one period that
    are found so make one entry; ``points`` holds one of them."""
    count: int = 0
    """Number of starts that end there."""

    @property
    def period(self) -> int:
        """1 for a fixed point."""
        return len(self.points)

    @property
    def attracting(self) -> bool:
        """The radius is below 1 beyond its error bound."""
        return self.radius + self.radius_error < 1

    @property
    def unstable(self) -> bool:
        """The radius is above 1 beyond its error bound: a repeller or a saddle."""
        return self.radius - self.radius_error > 1


@dataclass(frozen=True)
class _Candidate:
    """A representative end point after certification, alone."""

    point: Float[Tensor, " *shape"]
    radius: float
    radius_error: float
    location_error: float
    continuum: bool

    @property
    def unstable(self) -> bool:
        return self.radius - self.radius_error > 1


class LimitSearch:
    """The limits found so far, and which start ends in which."""

    f: Map
    examples: Tensor
    eps: float
    steps: int
    max_limits: int

    def __init__(self, f: Map, points: Tensor, examples: Tensor, eps: float, steps: int, max_limits: int) -> None:
        self.f, self.examples, self.eps, self.steps, self.max_limits = f, examples, eps, steps, max_limits
        self.points: Tensor = points.clone()
        """End points; the certified limit, at the phase of the start, once that is known."""
        self.limit: Tensor = torch.full((len(points),), -1, device=points.device)
        self.found: list[LimitSet] = []

    def find_fixed_points(self, orbit: Orbit) -> None:
        """Period 1, for the orbits that rest or all but rest."""
        rows = (orbit.converged | (orbit.residual <= STILL * self.eps)).nonzero().flatten()
        self._visit(1, rows, orbit.converged[rows])

    def find_cycles(self, moving: Bool[Tensor, " batch"], longest: int) -> None:
        """Periods 2, 3, ... for the orbits that come back, clearly closer than after any shorter time.

        A slow orbit only gets farther, and the returns of a quasi-periodic one improve too little for this. A chaotic
        orbit that comes back by chance is told from one on its way to a cycle by the next return, which is no closer.
        """
        rows = (moving & (self.limit < 0)).nonzero().flatten()
        if not len(rows):
            return
        gaps, last = self._returns(self.points[rows], longest)
        later, _ = self._returns(last, longest)
        ulp = torch.finfo(self.points.dtype).eps * self.points[rows].flatten(1).norm(dim=1)
        for period in range(2, longest + 1):
            gap = gaps[:, period - 1]
            settled = gap <= SETTLED * period * ulp
            approaching = (gap <= STILL * self.eps) & (later[:, period - 1] < gap)
            chosen = (settled | approaching) & (gap < 0.5 * gaps[:, : period - 1].amin(1))
            self._visit(period, rows[chosen], settled[chosen])

    def _returns(self, x: Tensor, longest: int) -> tuple[Float[Tensor, "m longest"], Tensor]:
        """How far 1, 2, ... steps carry each point from where it is, and the last point."""
        gaps, y = [], x
        for _ in range(longest):
            y = torch.cat([self.f(rows) for rows in y.split(BLOCK)])
            gaps.append((y - x).flatten(1).norm(dim=1))
        return torch.stack(gaps, 1), y

    def _visit(self, period: int, rows: Int[Tensor, " m"], settled: Bool[Tensor, " m"]) -> None:
        """Decide whether ``rows`` end in limits of this period.

        An orbit that is still moving cannot be on its way to an unstable limit; one that has ``settled`` may rest
        there. End points near an example come first, then the largest groups; what an attractor found on the way is
        near to need not wait, and where all are one continuum, so is the rest.
        """
        if not len(rows):
            return
        resolution = 100 * torch.finfo(self.points.dtype).eps * self.points[rows].flatten(1).norm(dim=1).max().item()
        groups = clusters(self.points[rows], max(STILL * self.eps, resolution))
        heads = torch.stack([group[0] for group in groups])
        near = nearest(self.points[rows[heads]], self.examples).distance < self.eps
        order = (~near).int().argsort(stable=True)[: self.max_limits]
        for batch in order.split(AT_ONCE):
            batch = batch[self.limit[rows[heads[batch]]] < 0]
            if not len(batch):
                continue
            candidates = self._certified(period, self.points[rows[heads[batch]]], settled[heads[batch]])
            for number, candidate in zip(batch.tolist(), candidates, strict=True):
                if candidate is None:
                    continue
                members = groups[number]
                near_it = (self.points[rows[members]] - candidate.point).flatten(1).norm(dim=1) <= REACH * self.eps
                near_it[0] = True  # the head, which was certified itself
                far = members[~(settled[members] | near_it)][: self.max_limits]
                self._visit_singly(period, rows[far])
                members = members[settled[members] | (near_it & (not candidate.unstable))]
                if len(members):
                    self.limit[rows[members]] = self._entered(period, candidate)
                    self.points[rows[members]] = candidate.point
            left = self.limit[rows] < 0
            if all(candidate is not None and candidate.continuum for candidate in candidates):
                if not (left[heads[order]] & near[order]).any():
                    self.limit[rows[left & settled]] = int(self.limit[rows[heads[batch[0]]]])
                    return
            elif len(order) > AT_ONCE:
                self._join_near(rows[left])

    def _visit_singly(self, period: int, rows: Int[Tensor, " m"]) -> None:
        """Orbits that are close together, but all far from where one of them will end: a repeller may lie between."""
        for part in rows.split(AT_ONCE):
            moving = torch.zeros(len(part), dtype=torch.bool, device=part.device)
            for row, candidate in zip(
                part.tolist(), self._certified(period, self.points[part], moving) if len(part) else [], strict=True
            ):
                if candidate is not None and not candidate.unstable:
                    self.limit[row] = self._entered(period, candidate)
                    self.points[row] = candidate.point

    def _certified(
        self, period: int, points: Float[Tensor, "m *shape"], settled: Bool[Tensor, " m"]
    ) -> list[_Candidate | None]:
        """Each point's limit under f^period, None where its orbit is not seen to end in one.

        With an eigenvalue at 1 up to rounding, where the limit is depends on the rounding: then it is where the orbit
        has settled, and the arithmetic of the orbits is the judge.
        """
        f, steps = power(self.f, period), self.steps // period
        try:
            found = certify(f, points, self.eps, steps=steps)
            limits, fixed, radius, error = found.points, found.fixed, found.radius, found.radius_error.nan_to_num(0.0)
            unexplained = (settled & ~fixed).nonzero().flatten()
            if len(unexplained):
                local = spectrum(f, points[unexplained], top=1)
                limits[unexplained], radius[unexplained] = points[unexplained], local.radius
                error[unexplained] = local.radius_error
            resolution = ROUNDING * torch.finfo(points.dtype).eps
            neutral = (radius - 1).abs() <= error.clamp(min=resolution)  # not where the radius is unknown, NaN
            error = torch.where(neutral, error.clamp(min=resolution), error)
            continuum = torch.zeros_like(fixed)
            if neutral.any():
                continuum[neutral] = self._moved_for_good(f, limits[neutral], steps)
        except NonFiniteError:  # one point without a finite Jacobian speaks for itself alone
            if len(points) == 1:
                return [None]
            single = zip(points, settled, strict=True)
            return [
                candidate for point, rest in single for candidate in self._certified(period, point[None], rest[None])
            ]
        known = ((fixed | neutral) & radius.isfinite()).tolist()
        location = torch.where(fixed, found.location_error, 0.0).nan_to_num(0.0, posinf=torch.inf)
        values = zip(limits, radius.tolist(), error.tolist(), location.tolist(), continuum.tolist(), strict=True)
        return [_Candidate(*value) if found else None for found, value in zip(known, values, strict=True)]

    def _moved_for_good(self, f: Map, points: Float[Tensor, "m *shape"], steps: int) -> Bool[Tensor, " m"]:
        """A push in a random direction ends at rest elsewhere nearby, more at rest than a slow orbit."""
        push = torch.randn(points.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        push = (push.flatten(1) / push.flatten(1).norm(dim=1, keepdim=True)).reshape(push.shape).to(points)
        found = certify(f, points + REACH * self.eps * push, self.eps, steps=steps)
        moved = (found.points - points).flatten(1).double().norm(dim=1)
        rounding = ROUNDING * torch.finfo(points.dtype).eps * points.flatten(1).double().norm(dim=1)
        return (found.residual <= rounding) & (moved > 1e-5 * self.eps + rounding) & (moved < self.eps)

    def _entered(self, period: int, candidate: _Candidate) -> int:
        """Index of the limit that the candidate is, a new one or a known one."""
        phases = [candidate.point]
        for _ in range(period - 1):
            phases.append(self.f(phases[-1][None])[0])
        cycle = torch.stack(phases)
        tol = SAME * candidate.point.double().norm().item() + min(2 * candidate.location_error, REACH * self.eps)
        back = (cycle - candidate.point).flatten(1).double().norm(dim=1).tolist()
        divisors = [q for q in range(1, period + 1) if period % q == 0]
        least = next(q for q in divisors if q == period or back[q] <= tol)
        for index, known in enumerate(self.found):
            apart = (known.points - candidate.point).flatten(1).double().norm(dim=1).min()
            if known.period == least and (apart <= tol or (known.continuum and candidate.continuum)):
                return index
        if least < period:  # an oscillating approach
            moving = torch.zeros(1, dtype=torch.bool, device=cycle.device)
            candidate = self._certified(least, candidate.point[None], moving)[0] or candidate
        self.found.append(self._described(cycle[:least], candidate))
        return len(self.found) - 1

    def _described(self, cycle: Float[Tensor, "period *shape"], candidate: _Candidate) -> LimitSet:
        near = nearest(cycle, self.examples)
        offset = near.distance.min().item()
        limit = LimitSet(
            kind="spurious" if len(cycle) == 1 else "cycle",
            example=-1,
            points=cycle,
            radius=candidate.radius,
            radius_error=candidate.radius_error,
            offset=offset,
            continuum=candidate.continuum,
        )
        if len(cycle) == 1 and limit.attracting and offset + candidate.location_error < self.eps:
            return replace(limit, kind="training", example=int(near.index))
        return limit

    def _join_near(self, rows: Int[Tensor, " m"]) -> None:
        """Rows next to a certified attractor end there; slow orbits in float32 settle all around theirs."""
        attractors = [index for index, limit in enumerate(self.found) if limit.attracting]
        if not attractors or not len(rows):
            return
        owner = torch.tensor([index for index in attractors for _ in self.found[index].points], device=rows.device)
        points = torch.cat([self.found[index].points for index in attractors])
        near = nearest(self.points[rows], points)
        close = near.distance < REACH * self.eps
        self.limit[rows[close]] = owner[near.index[close]]
        self.points[rows[close]] = points[near.index[close]]
