"""Search the fixed points and cycles that orbits end in, each certified once.

End points that are close together form a group, and the first point of each group is certified. The other members are
assigned to its limit if they are near it or have come to rest.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.attractors.candidates import Candidate, certify_candidates
from memzoo.dynamics.attractors.certificate import REACH
from memzoo.dynamics.attractors.clusters import BLOCK, find_clusters
from memzoo.dynamics.attractors.limit_sets import LimitSet
from memzoo.dynamics.orbits import SETTLED, Orbit, compose_with_itself, nearest
from memzoo.errors import InvalidArgumentError

STILL = 0.01
"""Times eps: smaller steps may be the end of an orbit, and end points this close are one candidate."""
AT_ONCE = 64
"""Candidates that are certified before asking whether they are a continuum."""
SAME = 1e-5
"""Relative distance below which two certified limits are one."""


class LimitSearch:
    """Collect the limits of orbits, and record which start ends in which limit.

    Args:
        f: Self-map.
        points: End points of the orbits.
        examples: Training examples.
        eps: Scale of distances, L2.
        steps: Most iterations for a certificate.
        max_limits: Most groups that are certified for one period.
    """

    def __init__(self, f: Map, points: Tensor, examples: Tensor, eps: float, steps: int, max_limits: int) -> None:
        self._f = f
        self._examples = examples
        self._eps = eps
        self._steps = steps
        self._max_limits = max_limits
        self.points: Tensor = points.clone()
        """End points; the certified limit, at the phase of the start, once that is known."""
        self.limit: Tensor = torch.full((len(points),), -1, device=points.device)
        """Index into ``found`` for each start, -1 if its limit is not known."""
        self.found: list[LimitSet] = []

    def find_fixed_points(self, orbit: Orbit) -> None:
        """Find the limits of period 1, for the orbits that rest or nearly rest."""
        resting = orbit.converged | (orbit.residual <= STILL * self._eps)
        rows = resting.nonzero().flatten()
        self._decide_limits(1, rows, orbit.converged[rows])

    def find_cycles(self, moving: Bool[Tensor, " batch"], longest: int) -> None:
        """Find the limits of periods 2, 3, ... for the orbits that return clearly closer than after any shorter time.

        A slow orbit only moves away from where it was, and the returns of a quasi-periodic orbit improve too little. A
        chaotic orbit may return by chance; it differs from an orbit on its way to a cycle in the next return, which is
        no closer.
        """
        rows = (moving & (self.limit < 0)).nonzero().flatten()
        if not len(rows):
            return
        gaps, last = self._measure_returns(self.points[rows], longest)
        next_gaps, _ = self._measure_returns(last, longest)
        ulp = torch.finfo(self.points.dtype).eps * self.points[rows].flatten(1).norm(dim=1)
        for period in range(2, longest + 1):
            gap = gaps[:, period - 1]
            # Each of the steps of one round adds its rounding.
            settled = gap <= SETTLED * period * ulp
            approaching = (gap <= STILL * self._eps) & (next_gaps[:, period - 1] < gap)
            clearly_closer = gap < 0.5 * gaps[:, : period - 1].amin(1)
            chosen = (settled | approaching) & clearly_closer
            self._decide_limits(period, rows[chosen], settled[chosen])

    def _measure_returns(self, x: Tensor, longest: int) -> tuple[Float[Tensor, "m longest"], Tensor]:
        """Measure how far 1, 2, ... steps carry each point from where it is; also return the last point."""
        gaps: list[Tensor] = []
        y = x
        for _ in range(longest):
            y = torch.cat([self._f(rows) for rows in y.split(BLOCK)])
            gaps.append((y - x).flatten(1).norm(dim=1))
        return torch.stack(gaps, 1), y

    def _decide_limits(self, period: int, rows: Int[Tensor, " m"], settled: Bool[Tensor, " m"]) -> None:
        """Decide whether ``rows`` end in limits of this period.

        Groups near an example come first, then the largest ones. Points near an attractor that is found on the way need
        no certificate of their own. If all candidates belong to one continuum, so do all others that have settled.
        """
        if not len(rows):
            return
        largest = self.points[rows].flatten(1).norm(dim=1).max().item()
        # Orbits in a narrow type rest all around their limit: within a hundred units in the last place they are one
        # group. The number is a matter of work: of two groups at one limit, each would have a certificate of its own.
        resolution = 100 * torch.finfo(self.points.dtype).eps * largest
        groups = find_clusters(self.points[rows], max(STILL * self._eps, resolution))
        heads = torch.stack([group[0] for group in groups])
        near_example = nearest(self.points[rows[heads]], self._examples).distance < self._eps
        order = (~near_example).int().argsort(stable=True)[: self._max_limits]
        for batch in order.split(AT_ONCE):
            # Groups may have been assigned to a limit in the meantime.
            batch = batch[self.limit[rows[heads[batch]]] < 0]
            if not len(batch):
                continue
            candidates = self._certify_groups(period, rows, settled, [groups[number] for number in batch.tolist()])
            left = self.limit[rows] < 0
            if all(candidate is not None and candidate.continuum for candidate in candidates):
                if not (left[heads[order]] & near_example[order]).any():
                    self.limit[rows[left & settled]] = int(self.limit[rows[heads[batch[0]]]])
                    return
            elif len(order) > AT_ONCE:
                self._assign_near(rows[left])

    def _certify_groups(
        self, period: int, rows: Tensor, settled: Tensor, groups: list[Tensor]
    ) -> list[Candidate | None]:
        """Certify the first row of each group, and assign the members of the group to its limit."""
        heads = torch.stack([group[0] for group in groups])
        candidates = self._certify(period, self.points[rows[heads]], settled[heads])
        for group, candidate in zip(groups, candidates, strict=True):
            if candidate is not None:
                self._assign_group(period, candidate, rows[group], settled[group])
        return candidates

    def _assign_group(self, period: int, candidate: Candidate, rows: Tensor, settled: Tensor) -> None:
        """Assign the members of a group, whose first row was certified, to its limit.

        A moving orbit cannot be on its way to an unstable limit; an orbit that has settled may rest there. Moving
        orbits far from the limit are visited one by one.
        """
        distance = (self.points[rows] - candidate.point).flatten(1).norm(dim=1)
        near = distance <= REACH * self._eps
        near[0] = True  # the first row was certified itself; a second time would give the same
        self._decide_one_by_one(period, rows[~(settled | near)][: self._max_limits])
        members = rows[settled | (near & (not candidate.unstable))]
        if len(members):
            self._assign(members, period, candidate)

    def _decide_one_by_one(self, period: int, rows: Int[Tensor, " m"]) -> None:
        """Certify each of the rows: they are close together, but a repeller may separate them."""
        if not len(rows):
            return
        for part in rows.split(AT_ONCE):
            moving = torch.zeros(len(part), dtype=torch.bool, device=part.device)
            candidates = self._certify(period, self.points[part], moving)
            for row, candidate in zip(part.split(1), candidates, strict=True):
                if candidate is not None and not candidate.unstable:
                    self._assign(row, period, candidate)

    def _assign_near(self, rows: Int[Tensor, " m"]) -> None:
        """Assign rows next to a certified attractor to it; slow orbits in float32 settle all around their limit."""
        attractors = [index for index, limit in enumerate(self.found) if limit.attracting]
        if not attractors or not len(rows):
            return
        owner = torch.tensor([index for index in attractors for _ in self.found[index].points], device=rows.device)
        points = torch.cat([self.found[index].points for index in attractors])
        found = nearest(self.points[rows], points)
        close = found.distance < REACH * self._eps
        self.limit[rows[close]] = owner[found.index[close]]
        self.points[rows[close]] = points[found.index[close]]

    def _assign(self, rows: Int[Tensor, " m"], period: int, candidate: Candidate) -> None:
        """Record that ``rows`` end in the limit of the candidate."""
        self.limit[rows] = self._register(period, candidate)
        self.points[rows] = candidate.point

    def _certify(self, period: int, points: Tensor, settled: Tensor) -> list[Candidate | None]:
        """Certify fixed points of the p-fold composition."""
        iterated = compose_with_itself(self._f, period)
        return certify_candidates(iterated, points, settled, self._eps, self._steps // period)

    def _register(self, period: int, candidate: Candidate) -> int:
        """Return the index of the limit of the candidate among those found, and add it if it is new."""
        phases = [candidate.point]
        for _ in range(period - 1):
            phases.append(self._f(phases[-1][None])[0])
        cycle = torch.stack(phases)
        # A limit whose place is known less precisely may be the same at a larger distance.
        tol = SAME * candidate.point.double().norm().item() + min(2 * candidate.location_error, REACH * self._eps)
        smallest_period = _find_smallest_period(cycle, tol)
        for index, known in enumerate(self.found):
            gap = (known.points - candidate.point).flatten(1).double().norm(dim=1).min()
            same = gap <= tol or (known.continuum and candidate.continuum)
            if known.period == smallest_period and same:
                return index
        if smallest_period < period:  # the orbit approaches its limit from alternating sides
            moving = torch.zeros(1, dtype=torch.bool, device=cycle.device)
            candidate = self._certify(smallest_period, candidate.point[None], moving)[0] or candidate
        self.found.append(self._describe(cycle[:smallest_period], candidate))
        return len(self.found) - 1

    def _describe(self, cycle: Float[Tensor, "period *shape"], candidate: Candidate) -> LimitSet:
        """Describe a new limit: its kind, and its distance from the examples."""
        found = nearest(cycle, self._examples)
        offset = found.distance.min().item()
        limit = LimitSet(
            kind="spurious" if len(cycle) == 1 else "cycle",
            example=-1,
            points=cycle,
            radius=candidate.radius,
            radius_error=candidate.radius_error,
            offset=offset,
            continuum=candidate.continuum,
        )
        if len(cycle) == 1 and limit.attracting and offset + candidate.location_error < self._eps:
            return replace(limit, kind="training", example=int(found.index))
        return limit


def check_search_limits(max_period: int, max_limits: int) -> None:
    """Raise an error unless both can limit a search: whole numbers from 1 on."""
    for name, value in (("max_period", max_period), ("max_limits", max_limits)):
        if not isinstance(value, int) or value < 1:
            raise InvalidArgumentError(f"{name} must be a whole number >= 1, got {value!r}.")


def _find_smallest_period(cycle: Float[Tensor, "period *shape"], tol: float) -> int:
    """Find the smallest divisor of the period after which the first point returns."""
    period = len(cycle)
    gaps = (cycle - cycle[0]).flatten(1).double().norm(dim=1).tolist()
    return next(q for q in range(1, period + 1) if period % q == 0 and (q == period or gaps[q] <= tol))
