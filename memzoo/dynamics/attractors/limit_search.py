"""Search the fixed points and cycles that orbits end in, each certified once.

End points that are close together form a group, and the first point of each group is certified. A member of the group
is assigned to that limit if its last step explains how far from the limit it is. The other members form groups of their
own, on a finer scale. Points in a continuum of fixed points are recognised by a push, each on its own.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.attractors.candidates import Candidate, certify_candidates
from memzoo.dynamics.attractors.certification import REACH
from memzoo.dynamics.attractors.clusters import BLOCK, find_clusters
from memzoo.dynamics.attractors.continua import ROUNDING, Pushed, push_fixed_points, resolve_radius
from memzoo.dynamics.attractors.limit_sets import LimitSet
from memzoo.dynamics.orbits import SETTLED, Orbit, compose_with_itself, iterate, nearest
from memzoo.errors import InvalidArgumentError

STILL = 0.01
"""Times eps: smaller steps may be the end of an orbit, and end points this close are one candidate at first."""
AT_REST = 1e-3
"""Times eps: an orbit that has settled, but still moves faster, is iterated on."""
AT_ONCE = 64
"""Candidates that are certified at one time."""
FINER = 0.01
"""Times the scale of one round: that of the next round, for points that belong to different limits."""
SAME = 1e-3
"""Times eps: most that rounding along a cycle may move certified limits apart."""
EXPLAINED = 10
"""Times the distance to the limit that a last step shows: room for maps that are not normal."""


@dataclass(frozen=True)
class _Ends:
    """Orbits whose limits are sought; one entry an orbit."""

    rows: Int[Tensor, " m"]
    """Their starts."""
    settled: Bool[Tensor, " m"]
    """The orbit has come to rest."""
    step: Float[Tensor, " m"]
    """L2 length of its last step, for cycles of the last round."""

    def __getitem__(self, chosen: Tensor | slice) -> "_Ends":
        """Select some of the orbits."""
        return _Ends(self.rows[chosen], self.settled[chosen], self.step[chosen])

    def __len__(self) -> int:
        """Return the number of orbits."""
        return len(self.rows)


class LimitSearch:
    """Collect the limits of orbits, and record which start ends in which limit.

    Args:
        f: Self-map.
        points: End points of the orbits.
        examples: Training examples with the radius of each, within which an attractor is its own; None if there are no
            examples to compare limits with.
        eps: Scale of distances, L2.
        steps: Most iterations for a certificate.
        max_limits: Most groups that are certified for one period.
    """

    def __init__(
        self,
        f: Map,
        points: Tensor,
        examples: tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]] | None,
        eps: float,
        steps: int,
        max_limits: int,
    ) -> None:
        self._f = f
        self._examples = examples
        self._eps = eps
        self._steps = steps
        self._max_limits = max_limits
        self._ulp: float = torch.finfo(points.dtype).eps
        self.points: Tensor = points.clone()
        """End points; the certified limit, at the phase of the start, once that is known."""
        self.limit: Tensor = torch.full((len(points),), -1, device=points.device)
        """Index into ``found`` for each start, -1 if its limit is not known."""
        self.found: list[LimitSet] = []

    def find_fixed_points(self, orbit: Orbit) -> None:
        """Find the limits of period 1, for the orbits that rest or nearly rest."""
        resting = orbit.residual <= STILL * self._eps
        rows = resting.nonzero().flatten()
        self._decide_limits(1, _Ends(rows, orbit.converged[rows], orbit.residual[rows]))

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
        ulp = self._ulp * self.points[rows].flatten(1).norm(dim=1)
        for period in range(2, longest + 1):
            gap = gaps[:, period - 1]
            near = gap <= STILL * self._eps
            # Each of the steps of one round adds its rounding.
            settled = near & (gap <= SETTLED * period * ulp)
            approaching = near & (next_gaps[:, period - 1] < gap)
            clearly_closer = gap < 0.5 * gaps[:, : period - 1].amin(1)
            chosen = (settled | approaching) & clearly_closer
            self._decide_limits(period, _Ends(rows[chosen], settled[chosen], gap[chosen]))

    def _measure_returns(self, x: Tensor, longest: int) -> tuple[Float[Tensor, "m longest"], Tensor]:
        """Measure how far 1, 2, ... steps carry each point from where it is; also return the last point."""
        gaps: list[Tensor] = []
        y = x
        for _ in range(longest):
            y = torch.cat([self._f(rows) for rows in y.split(BLOCK)])
            gaps.append((y - x).flatten(1).norm(dim=1))
        return torch.stack(gaps, 1), y

    def _decide_limits(self, period: int, ends: _Ends) -> None:
        """Decide whether ``ends`` have limits of this period.

        Points that were close together but belong to different limits are left over in one round, and form groups of
        their own in the next one, on a scale a hundred times finer.
        """
        scale = STILL * self._eps
        budget = self._max_limits
        while len(ends) and budget > 0:
            groups = [ends[group] for group in find_clusters(self.points[ends.rows], scale)]
            groups = self._set_continua_aside(period, groups)
            left: list[_Ends] = []
            while groups and budget > 0:
                count = min(AT_ONCE, budget, len(groups))
                left += self._certify_groups(period, groups[:count])
                budget -= count
                groups = self._assign_near(period, groups[count:])
            ends = _join(left) if left else ends[:0]
            scale *= FINER

    def _set_continua_aside(self, period: int, groups: list[_Ends]) -> list[_Ends]:
        """Assign the members of groups that lie in a continuum to it, and return the groups of all others.

        The groups come in the order in which they are to be certified: those near an example first, then those that are
        not left when they are pushed, then the large ones.
        """
        heads = torch.stack([group.rows[0] for group in groups])
        pushed = self._push(period, heads)
        inside = torch.zeros_like(self.limit, dtype=torch.bool)
        inside[heads] = pushed.continuum
        # An isolated limit may lie as close to a continuum as the members of a group to each other.
        beside = [group.rows[1:] for group, is_inside in zip(groups, pushed.continuum, strict=True) if is_inside]
        members = torch.cat([heads[:0], *beside])
        if len(members):
            inside[members] = self._push(period, members).continuum
        if inside.any():
            self._assign_continuum(period, inside.nonzero().flatten())
        rank = 2 * (~self._near_an_example(heads)).int() + pushed.leaves.int()
        ordered = [groups[i] for i in rank.argsort(stable=True).tolist()]
        return self._drop_decided(ordered)

    def _push(self, period: int, rows: Tensor) -> Pushed:
        """Push the end points of ``rows``."""
        iterated = compose_with_itself(self._f, period)
        return push_fixed_points(iterated, self.points[rows], self._eps, self._steps // period)

    def _near_an_example(self, rows: Tensor) -> Bool[Tensor, " m"]:
        """Tell which end points are within the radius of their nearest example."""
        if self._examples is None:
            return torch.zeros_like(rows, dtype=torch.bool)
        examples, radii = self._examples
        found = nearest(self.points[rows], examples)
        return found.distance < radii[found.index]

    def _drop_decided(self, groups: list[_Ends]) -> list[_Ends]:
        """Drop the members whose limit is known, and the groups that have no other members."""
        undecided = [group[self.limit[group.rows] < 0] for group in groups]
        return [group for group in undecided if len(group)]

    def _certify_groups(self, period: int, groups: list[_Ends]) -> list[_Ends]:
        """Certify the first row of each group, assign members to its limit, and return those that may have another."""
        heads = torch.stack([group.rows[0] for group in groups])
        settled = torch.stack([group.settled[0] for group in groups])
        candidates = self._certify(period, self.points[heads], settled)
        pairs = zip(groups, candidates, strict=True)
        return [self._assign_group(period, candidate, group) for group, candidate in pairs]

    def _assign_group(self, period: int, candidate: Candidate | None, group: _Ends) -> _Ends:
        """Assign the members whose last steps show that they are at the limit of the first; return the others.

        A moving orbit cannot be on its way to an unstable limit; an orbit that has settled may rest there.
        """
        if candidate is None:
            others = group[1:]
            return others[others.settled]
        gap = self._measure_gap(self.points[group.rows], candidate.point)
        expected = self._explain_distance(group, torch.tensor(candidate.contraction))
        explained = gap <= (expected + 2 * candidate.location_error).clamp(max=REACH * self._eps)
        explained[0] = True  # the first row was certified itself
        members = explained & (group.settled | (not candidate.unstable))
        if members.any():
            self._assign(group.rows[members], period, candidate)
        return group[~explained]

    def _assign_near(self, period: int, groups: list[_Ends]) -> list[_Ends]:
        """Assign members of groups that are at a certified attractor to it, and return the groups of the others.

        Slow orbits in a narrow type rest all around their limit: they need no certificates of their own.
        """
        known = [(i, one) for i, one in enumerate(self.found) if one.attracting and period % one.period == 0]
        if not known or not groups:
            return groups
        ends = _join(groups)
        points = torch.cat([one.points for _, one in known])
        owner = torch.tensor([i for i, one in known for _ in one.points], device=points.device)
        margin = torch.tensor([1 - one.radius - one.radius_error for _, one in known for _ in one.points])
        target = nearest(self.points[ends.rows], points).index
        gap = self._measure_gap(self.points[ends.rows], points[target])
        close = gap <= self._explain_distance(ends, margin.to(points.device)[target])
        self.limit[ends.rows[close]] = owner[target[close]]
        self.points[ends.rows[close]] = points[target[close]]
        return self._drop_decided(groups)

    def _explain_distance(self, ends: _Ends, contraction: Tensor) -> Float[Tensor, " m"]:
        r"""Compute how far from their limit orbits with these last steps may be.

        Near a fixed point whose Jacobian is normal, of radius r, :math:`\|x - x^*\| \le \|f(x) - x\| / |1 - r|`.
        """
        # Below the rounding of numbers as large as eps, distances mean nothing: limits at the origin have no size.
        size = self.points[ends.rows].flatten(1).double().norm(dim=1).clamp(min=self._eps)
        step = ends.step.double() + SETTLED * self._ulp * size
        expected = EXPLAINED * step / contraction.double().clamp(min=0).to(step.device)
        return expected.clamp(max=REACH * self._eps)

    def _measure_gap(self, points: Tensor, limit: Tensor) -> Float[Tensor, " m"]:
        """Measure L2 distances to limits beyond what the rounding of each coordinate to the type of orbits explains."""
        difference = (points.double() - limit.double()).abs()
        rounding = 4 * self._ulp * torch.maximum(points.abs(), limit.abs()).double()
        return (difference - rounding).clamp(min=0).flatten(1).norm(dim=1)

    def _assign(self, rows: Int[Tensor, " m"], period: int, candidate: Candidate) -> None:
        """Record that ``rows`` end in the limit of the candidate."""
        self.limit[rows] = self._register(period, candidate)
        self.points[rows] = candidate.point

    def _assign_continuum(self, period: int, rows: Int[Tensor, " m"]) -> None:
        """Record that ``rows`` end in a continuum, each where its orbit is; the first of them gives the radius."""
        point = self.points[rows[0]]
        found = self._certify(period, point[None], torch.ones_like(rows[:1], dtype=torch.bool))[0]
        radius, error = (found.radius, found.radius_error) if found else (torch.nan, torch.nan)
        self.limit[rows] = self._register(period, Candidate(point, radius, error, 0.0, continuum=True))

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
        # The rounding of f moves a fixed point by that over |1 - radius|, but two limits that differ on the scale of
        # the data are two. A limit whose place is known less precisely may be the same at a larger distance.
        size = max(candidate.point.double().norm().item(), self._eps)
        contraction = max(candidate.contraction, resolve_radius(self.points.dtype))
        rounding = min(ROUNDING * self._ulp * size / contraction, SAME * self._eps)
        tol = rounding + min(2 * candidate.location_error, REACH * self._eps)
        smallest_period = self._find_smallest_period(cycle, tol)
        for index, known in enumerate(self.found):
            gap = self._measure_gap(known.points, candidate.point).min()
            same = gap <= tol or (known.continuum and candidate.continuum)
            if known.period == smallest_period and same:
                return index
        if smallest_period < period:  # the orbit approaches its limit from alternating sides
            moving = torch.zeros(1, dtype=torch.bool, device=cycle.device)
            candidate = self._certify(smallest_period, candidate.point[None], moving)[0] or candidate
        self.found.append(self._describe(cycle[:smallest_period], candidate))
        return len(self.found) - 1

    def _find_smallest_period(self, cycle: Float[Tensor, "period *shape"], tol: float) -> int:
        """Find the smallest divisor of the period after which the first point returns."""
        period = len(cycle)
        gaps = self._measure_gap(cycle, cycle[0]).tolist()
        return next(q for q in range(1, period + 1) if period % q == 0 and (q == period or gaps[q] <= tol))

    def _describe(self, cycle: Float[Tensor, "period *shape"], candidate: Candidate) -> LimitSet:
        """Describe a new limit: its kind, and its distance from the examples."""
        limit = LimitSet(
            kind="spurious" if len(cycle) == 1 else "cycle",
            example=-1,
            points=cycle,
            radius=candidate.radius,
            radius_error=candidate.radius_error,
            offset=torch.nan,
            continuum=candidate.continuum,
        )
        if self._examples is None:
            return limit
        examples, radii = self._examples
        limit = replace(limit, offset=nearest(cycle, examples).distance.min().item())
        if len(cycle) > 1 or not limit.attracting:
            return limit
        # The nearest of the examples that have the limit within their own radius.
        distance = (examples.double() - cycle.double()).flatten(1).norm(dim=1)
        distance[distance + candidate.location_error >= radii] = torch.inf
        smallest, example = distance.min(0)
        return replace(limit, kind="training", example=int(example)) if smallest < torch.inf else limit


def check_search_limits(max_period: int, max_limits: int) -> None:
    """Raise an error unless both can limit a search: whole numbers from 1 on."""
    for name, value in (("max_period", max_period), ("max_limits", max_limits)):
        if not isinstance(value, int) or value < 1:
            raise InvalidArgumentError(f"{name} must be a whole number >= 1, got {value!r}.")


def iterate_to_rest(f: Map, orbit: Orbit, eps: float, steps: int) -> Orbit:
    """Iterate orbits on that have settled by the size of their points, but still move on the scale of ``eps``.

    One large coordinate hides the others in the norm of a point, and in half precision eight units in the last place
    are six per cent of a point. Such orbits take the rest of their ``steps`` or come to a complete rest.
    """
    early = (orbit.converged & (orbit.residual > AT_REST * eps) & (orbit.steps < steps)).nonzero().flatten()
    if not len(early):
        return orbit
    # All take as many steps as the first to settle has left; settled rows are not evaluated again.
    rest = iterate(f, orbit.points[early], int((steps - orbit.steps[early]).max()), tol=0.0)
    return replace(
        orbit,
        points=orbit.points.index_put((early,), rest.points),
        converged=orbit.converged.index_put((early,), rest.converged),
        diverged=orbit.diverged.index_put((early,), rest.diverged),
        steps=orbit.steps.index_put((early,), (orbit.steps[early] + rest.steps).clamp(max=steps)),
        residual=orbit.residual.index_put((early,), rest.residual),
    )


def _join(groups: list[_Ends]) -> _Ends:
    """Join groups of orbits."""
    return _Ends(
        torch.cat([group.rows for group in groups]),
        torch.cat([group.settled for group in groups]),
        torch.cat([group.step for group in groups]),
    )
