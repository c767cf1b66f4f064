"""Find the point where the orbit of each example ends, and tell whether it is a fixed point.

Everything is computed in the widest arithmetic of the map, from the example itself. In float32 an orbit that leaves an
unstable example goes where the rounding of the first steps sends it, and that depends on the number of threads and on
the other rows of the batch.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.attractors.newton import compute_residual_norm, polish_fixed_point
from memzoo.dynamics.orbits import SETTLED, iterate
from memzoo.dynamics.spectra import Jacobians
from memzoo.dynamics.tracing import accelerate_convolutions_in_dtype, outputs_agree

POLISHED_STEPS = 100
"""Most iterations between the first rest of an orbit and Newton's method."""
QUARTERS = 4
"""Parts of the iterations that were asked for, between which the pace of the moving orbits is compared."""
LONGER = (1, 2, 4, 8, 4)
"""Parts, in units of the iterations that were asked for, in which an open orbit is followed on: 19 together."""
LOOK = 16
"""Iterations over which the pace of an orbit is measured."""
CREEPING = 0.1
"""Share of its reach that an orbit may step and count as all but at rest: one that leaves an unstable point does so."""
WINDOWS = 3
"""Windows of the iteration in which the distance of a moving orbit from its limit is measured."""
WINDOW = 25
"""Iterations of each window; the largest distance counts, so that a rotation about the limit does not."""
REMAINDER = 0.5
"""Part of the distance from the limit that extrapolation may leave of it; it leaves nothing at a geometric pace."""
SLOW_REMAINDER = 0.9
"""The same of an orbit whose steps point to the limit: at the pace of x - x^p, extrapolation leaves 1 - 1/p."""
STRAIGHT = 0.9
"""Cosine of the angle between a step and the way to the limit, from which on the step points to the limit."""
UNSURE = 10
"""Newton steps that were not taken, within which the place of a limit is not known."""
CLOSE = 1e-3
"""Share of its reach up to which an orbit may be so near its limit that the distance says nothing."""
CLOSE_BY = 100
"""Times the last step of an orbit that rests: farther away, a limit is not taken for its own at once."""
LONGEST_CYCLE = 64
"""Longest period of a cycle that is recognised, so that its orbit need not be followed on."""


@dataclass(frozen=True)
class OrbitLimits:
    """Where orbits end, one row an example."""

    points: Float[Tensor, "n *shape"]
    """Limits; where there is none, the last finite point."""
    step_left: Float[Tensor, "n d"]
    """Newton steps that were not taken; infinite where there is none."""
    residual: Float[Tensor, " n"]
    """L2 norm of f(x) - x; infinity where the orbit diverged."""
    fixed: Bool[Tensor, " n"]
    """The residual is at the level of rounding."""
    open: Bool[Tensor, " n"]
    """The orbit was followed as far as allowed, and has not come to a fixed point whose place is known, nor to a cycle,
    nor has it diverged."""
    early: Bool[Tensor, " n"]
    """Newton's method began at the first rest of the orbit. If the limit attracts, that is where the orbit goes."""

    def replace_rows(self, rows: Int[Tensor, " m"], part: "OrbitLimits") -> "OrbitLimits":
        """Return the same with other limits in some of the rows."""
        return OrbitLimits(**{name: value.index_put((rows,), vars(part)[name]) for name, value in vars(self).items()})


def find_orbit_limits(
    wide: Map,
    jacobians: Jacobians,
    examples: Float[Tensor, "n *shape"],
    steps: int,
    reach: Float[Tensor, " n"],
    *,
    follow_on: bool = True,
    early: bool = False,
) -> OrbitLimits:
    """Iterate from each example and polish the end by Newton's method; follow on the orbits that are still open.

    Args:
        wide: Self-map in the arithmetic of the Jacobians, see :func:`choose_quick_map`.
        jacobians: Its Jacobians.
        examples: Starts.
        steps: Most iterations before an orbit counts as open; it is then followed up to 20 times as long.
        reach: How far Newton's method may move each point.
        follow_on: Whether any verdict depends on where open orbits end.
        early: Begin Newton's method where an orbit first comes to rest, and not a hundred steps later. Whoever asks for
            that has to see that the limit attracts: an orbit may also rest beside a fixed point that it leaves again.
    """
    search = _LimitSearch(wide, jacobians, examples, reach)
    first, more = divmod(steps, QUARTERS)
    search.iterate(first + more, every=True)
    for _ in range(QUARTERS - 1):
        search.iterate(first, every=True)
    if early:
        search.polish_at_rest()
    search.polish(min(steps, POLISHED_STEPS))
    search.remove_cycles()
    for times in LONGER if follow_on and steps else ():
        if not search.slows.any():
            break
        search.iterate(times * steps)
        search.polish(min(steps, POLISHED_STEPS))
    return OrbitLimits(search.points, search.step_left, search.residual, search.fixed, search.open, search.early)


class _LimitSearch:
    """Hold the last points of orbits, and what is known about them."""

    def __init__(self, wide: Map, jacobians: Jacobians, examples: Tensor, reach: Tensor) -> None:
        self._map = wide
        self._jacobians = jacobians
        self.points: Tensor = examples.to(jacobians.dtype, copy=True)
        self._reach = reach
        self._size = examples.flatten(1).to(jacobians.dtype).norm(dim=1)
        # The first rest is that of single precision: from there Newton's method is quicker.
        self._rest = SETTLED * max(torch.finfo(jacobians.dtype).eps, torch.finfo(torch.float32).eps)
        self.step_left: Tensor = torch.full_like(self.points.flatten(1), torch.inf)
        self.residual: Tensor = torch.full_like(self._size, torch.inf, dtype=torch.float64)
        self.fixed: Tensor = torch.zeros(len(examples), dtype=torch.bool, device=examples.device)
        self.open: Tensor = torch.ones_like(self.fixed)
        self.slows: Tensor = torch.ones_like(self.fixed)
        """Which open orbits have become slower since the last look, or creep, as slow orbits to a fixed point do; one
        that is chaotic, or on its way to nowhere, need not be followed on."""
        self.early: Tensor = torch.zeros_like(self.fixed)
        """Rows whose limit was found from the first rest."""
        self._moving = torch.ones_like(self.fixed)
        self._diverged = torch.zeros_like(self.fixed)
        self._pace = torch.full_like(self._size, torch.inf)

    def iterate(self, steps: int, *, every: bool = False) -> None:
        """Iterate the orbits that still move, all or those alone that become slower, and measure their pace."""
        rows = (self._moving if every else self._moving & self.slows).nonzero().flatten()
        if not steps or not len(rows):  # without a step there is no other pace to compare with
            return
        orbit = iterate(self._map, self.points[rows], steps, tol=self._rest)
        self.points[rows] = orbit.points
        self._diverged[rows] = orbit.diverged
        self._moving[rows] = ~(orbit.converged | orbit.diverged)
        rows = rows[self._moving[rows]]
        pace = self._measure_pace(self.points[rows])
        self.slows[rows] = (pace < self._pace[rows]) | (pace < CREEPING * self._reach[rows])
        self._pace[rows] = pace

    def polish_at_rest(self) -> None:
        """Polish the points of the orbits that have come to rest, and decide those that lead to a limit close by."""
        rows = (self.open & ~self._moving & ~self._diverged).nonzero().flatten()
        if not len(rows):
            return
        before = compute_residual_norm(self._jacobians.wide, self.points[rows])
        reach = torch.minimum(self._reach[rows], CLOSE_BY * before.double())
        points, step_left = polish_fixed_point(self._jacobians, self.points[rows], reach)
        residual = compute_residual_norm(self._jacobians.wide, points).double()
        found = (residual <= _residual_tolerance(points.dtype) * self._size[rows]) & (step_left.norm(dim=1) <= reach)
        rows = rows[found]
        self.points[rows] = points[found]
        self.step_left[rows] = step_left[found]
        self.residual[rows] = residual[found]
        self.fixed[rows] = True
        self.early[rows] = True
        self.open[rows] = False
        self.slows &= self.open

    def polish(self, steps: int) -> None:
        """Polish the points of the open orbits, and find out which are still open."""
        rows = (self.open & ~self._diverged).nonzero().flatten()
        self.open[self._diverged] = False
        if not len(rows):
            return
        orbit = iterate(self._map, self.points[rows], steps)
        points, step_left = polish_fixed_point(self._jacobians, orbit.points, self._reach[rows])
        residual = compute_residual_norm(self._jacobians.wide, points).double()
        size = torch.maximum(points.flatten(1).norm(dim=1), self._size[rows])
        # Comparisons with NaN are false.
        fixed = residual.isfinite() & (residual <= _residual_tolerance(points.dtype) * size) & ~orbit.diverged
        # Newton's method leads from a cycle, too, to a fixed point that the cycle surrounds and never comes nearer to.
        # An orbit that it has not led anywhere, and that is at no fixed point, is open wherever it tends to.
        led = fixed | (points != orbit.points).flatten(1).any(1)
        moving = (self._moving[rows] & ~orbit.converged & led).nonzero().flatten()
        near = UNSURE * step_left[moving].norm(dim=1)
        near = torch.where(near <= CLOSE * self._reach[rows[moving]], near, 0.0) + self._rest * self._size[rows[moving]]
        passing = moving[~self._approach(orbit.points[moving], points[moving], near)]
        points[passing] = orbit.points[passing]
        step_left[passing] = torch.inf
        residual[passing] = compute_residual_norm(self._jacobians.wide, points[passing]).double()
        fixed &= residual <= _residual_tolerance(points.dtype) * size
        known = step_left.norm(dim=1) <= self._reach[rows]
        self.points[rows] = points
        self.step_left[rows] = step_left
        self.residual[rows] = torch.where(orbit.diverged, torch.inf, residual)
        self.fixed[rows] = fixed
        self.open[rows] = ~(orbit.diverged | (fixed & known))
        self.slows &= self.open
        # An orbit that came to rest where there is no fixed point, by a small step, goes on.
        self._moving[rows] = self.open[rows]

    def _approach(
        self,
        points: Float[Tensor, "m *shape"],
        limits: Float[Tensor, "m *shape"],
        near: Float[Tensor, " m"],
    ) -> Bool[Tensor, " m"]:
        """Tell which orbits are on their way to their limits, or ``near`` them already.

        An orbit that settles on a cycle about the limit comes ever nearer, too, but not to distance 0. To what the
        distances tend, Aitken's extrapolation tells from three of them (Proc. Roy. Soc. Edinburgh 46, 1926).
        """
        if not len(points):
            return torch.zeros(0, dtype=torch.bool, device=points.device)
        farthest = [torch.zeros_like(near) for _ in range(WINDOWS)]
        for distance in farthest:
            for _ in range(WINDOW):
                points = self._map(points)
                torch.maximum(distance, (points - limits).flatten(1).norm(dim=1), out=distance)
        first, second, third = farthest
        left = third - (third - second).square() / ((third - second) - (second - first))
        way = (limits - points).flatten(1)
        step = (self._map(points) - points).flatten(1)
        straight = (way * step).sum(1) >= STRAIGHT * way.norm(dim=1) * step.norm(dim=1)
        # Comparisons with NaN are false.
        tends_to_limit = left.abs() <= torch.where(straight, SLOW_REMAINDER, REMAINDER) * third
        tends_to_limit &= (third < second) & (second < first)
        return tends_to_limit | (third <= near)

    def remove_cycles(self) -> None:
        """Find the open orbits that have closed; they are not open any more."""
        rows = self.open.nonzero().flatten()
        if not len(rows):
            return
        start = self.points[rows]
        rounding = SETTLED * torch.finfo(start.dtype).eps * start.flatten(1).norm(dim=1)
        point = self._map(start)
        moves = (point - start).flatten(1).norm(dim=1) > LONGEST_CYCLE * rounding  # an orbit that creeps has not closed
        closed = torch.zeros_like(moves)
        for period in range(2, LONGEST_CYCLE + 1):
            point = self._map(point)
            closed |= moves & ((point - start).flatten(1).norm(dim=1) <= period * rounding)
        self.open[rows[closed]] = False
        self.slows &= self.open

    def _measure_pace(self, point: Float[Tensor, "m *shape"]) -> Float[Tensor, " m"]:
        """Measure the largest of the next steps."""
        pace = torch.zeros(len(point), dtype=point.dtype, device=point.device)
        for _ in range(LOOK if len(point) else 0):
            image = self._map(point)
            pace = torch.maximum(pace, (image - point).flatten(1).norm(dim=1))
            point = image
        return pace


def _residual_tolerance(dtype: torch.dtype) -> float:
    """Return the relative residual below which a point counts as fixed: rounding, with room for a deep network."""
    return torch.finfo(dtype).eps ** 0.5 * (1e-2 if dtype == torch.float64 else 1e-1)


def choose_quick_map(f: Map, jacobians: Jacobians, examples: Tensor) -> Map:
    """Choose the quickest form of the map in the arithmetic of its Jacobians."""
    points = examples.to(jacobians.dtype)
    if jacobians.affine and jacobians.method == "cut":
        affine = _form_affine_map(jacobians, points[:1])
        if outputs_agree(affine, jacobians.wide, points):
            return affine
    return accelerate_convolutions_in_dtype(f, points, jacobians.dtype) or jacobians.wide


def _form_affine_map(jacobians: Jacobians, point: Tensor) -> Map:
    """Form x -> J x + c through the cut: two thin products instead of all layers."""
    factors = jacobians.form_factors(point)

    def multiply(x: Tensor) -> Tensor:
        return factors.outward(factors.inward(x.flatten(1).mT[None]))[0].mT.reshape(x.shape)

    shift = jacobians.wide(point) - multiply(point)
    return lambda x: multiply(x) + shift
