"""Decide by brute force which examples are attractors: long orbits in float64, differences, eigenvalues, many pushes.

Nothing here uses memzoo. The oracle answers only where a margin is left; near a limit of any criterion it says nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.oracles.formulas import Formula, Points

STEPS = 20_000
"""Most iterations of an orbit."""
PACE = 1_000
"""Iterations after which the length of a step is compared with what it was."""
STRIDE = 1e-2
"""Times eps: a step that is longer than this after all iterations belongs to an orbit without a limit."""
PUSHED_STEPS = 4_000
"""Iterations after a push, and again as often as long as it comes nearer."""
PUSHED_ROUNDS = 10
"""Most times that they are taken."""
DIRECTIONS = 24
"""Random directions of pushes, with their opposites."""
FINE = (1e-5, 1e-4, 1e-3, 1e-2)
"""Lengths of pushes, times eps."""
COARSE = (0.03, 0.1)
"""The same for maps whose outputs rest under small steps: there, only distances of the order of eps matter."""
GROWTH = 1.5
"""A push has left if it is longer by this factor in the end."""
RETURN = 0.5
"""A push has come back if no more than this part of it is left in the end."""
RADIUS_TELLS = 1e-2
"""A radius that is known less well than this does not decide anything."""
NEAR_COPY = 0.1
"""Part of the median distance to the nearest example: examples that are nearer to each other count as one."""
DIFFERENCE = 1e-6
"""Step of differences, relative to the length of the point."""


@dataclass(frozen=True)
class Judgement:
    """Hold what the oracle knows of one example."""

    attractor: bool | None
    """None where the oracle does not know."""
    reason: str
    limit: Points
    radius: float
    """Spectral radius at the limit by differences; NaN where there is no limit, or a kink."""
    radius_error: float
    """How far differences may be off."""


@dataclass(frozen=True)
class Oracle:
    """Judge the examples of one network."""

    formula: Formula
    """The map, on batches of flat points."""
    examples: Points
    """The examples, flat."""
    eps: Points
    """Radius of each example."""
    margin: float
    """Relative distance from the limit of a criterion within which nothing is said. It has to cover what the network
    rounds in its own arithmetic."""
    coarse: bool
    """Whether outputs rest under small steps."""

    def judge(self) -> list[Judgement]:
        """Judge each example."""
        orbits = follow_orbits(self.formula, self.examples, STEPS)
        limits = _polish(self.formula, orbits.points, self.eps)
        residual = np.linalg.norm(self.formula(limits) - limits, axis=1)
        fixed = residual <= 1e-11 * self._scale
        return [
            self._judge_row(row, limits, orbits) if fixed[row] else self._judge_open(row, limits, orbits)
            for row in range(len(limits))
        ]

    @property
    def _scale(self) -> Points:
        return np.maximum(np.linalg.norm(self.examples, axis=1), 1e-30)

    @property
    def _near(self) -> float:
        """Return the distance below which examples are near-copies."""
        apart = np.linalg.norm(self.examples[:, None] - self.examples[None], axis=2)
        nearest = np.where(apart > 0, apart, np.inf).min(1)
        nearest = nearest[np.isfinite(nearest)]
        return NEAR_COPY * float(np.median(nearest)) if len(nearest) else 0.0

    def _judge_open(self, row: int, limits: Points, orbits: "Orbits") -> Judgement:
        """Judge an example whose orbit has no limit yet: one that still takes large steps after so long has none."""
        if not np.isfinite(limits[row]).all() or orbits.last[row] > STRIDE * self.eps[row]:
            return Judgement(False, "the orbit does not settle", limits[row], np.nan, np.nan)
        return Judgement(None, "the orbit is still open", limits[row], np.nan, np.nan)

    def _judge_row(self, row: int, limits: Points, orbits: "Orbits") -> Judgement:
        """Judge an example by the fixed point in which its orbit ends."""
        limit = limits[row]
        radius, error = (np.nan, np.nan) if self.coarse else measure_radius(self.formula, limit)
        answers = [
            self._compare_offset(row, limit),
            self._find_sharers(row, limits),
            self._compare_radius(radius, error),
        ]
        if all(answer is not False for answer, _ in answers):  # pushes cost most
            answers.append(self._push(row, limit))
        refuted = [reason for answer, reason in answers if answer is False]
        open_ = [reason for answer, reason in answers if answer is None]
        attractor = False if refuted else None if open_ else True
        return Judgement(attractor, "; ".join(refuted or open_), limit, radius, error)

    def _compare_offset(self, row: int, limit: Points) -> "Answer":
        offset = np.linalg.norm(limit - self.examples[row])
        reason = f"offset {offset:.4g}, eps {self.eps[row]:.4g}"
        if abs(offset - self.eps[row]) <= self.margin * (self.eps[row] + self._scale[row]):
            return None, reason
        return bool(offset < self.eps[row]), reason

    def _find_sharers(self, row: int, limits: Points) -> "Answer":
        """Tell whether another example, which is no near-copy of this one, ends at the same point.

        Rounding decides which way an example goes that has an unstable fixed point of its own at hand: it may stay
        there. Then nothing is said.
        """
        other = np.linalg.norm(self.examples - self.examples[row], axis=1) > self._near
        gap = np.where(other, np.linalg.norm(limits - limits[row], axis=1), np.inf)
        sharers = np.flatnonzero(gap <= 1e-9 * self._scale[row])
        if len(sharers):
            own = _polish(self.formula, self.examples[sharers], self.eps[sharers])
            stays = np.linalg.norm(self.formula(own) - own, axis=1) <= 1e-9 * self._scale[sharers]
            stays &= np.linalg.norm(own - limits[row], axis=1) > 1e-6 * self._scale[row]
            return (None if stays.all() else False), f"examples {sharers.tolist()} end at the same point"
        nearest = gap.min(initial=np.inf)
        return (None if nearest <= self.margin * self._scale[row] else True), f"another limit is {nearest:.3g} away"

    def _compare_radius(self, radius: float, error: float) -> "Answer":
        """Compare the radius with 1; where it is not known, as at a kink or where outputs rest, only pushes tell."""
        reason = f"radius {radius:.6g} +- {error:.2g}"
        if radius - error > 1 + self.margin:
            return False, reason
        return (None if abs(radius - 1) <= self.margin + error < RADIUS_TELLS else True), reason

    def _push(self, row: int, limit: Points) -> "Answer":
        """Push the limit in many directions and follow where that leads.

        All pushes have to come back. The limit is refuted if pushes of the smallest length leave it; if larger ones
        alone do, its basin is small, and nothing is said.
        """
        rng = np.random.default_rng(row)
        directions = rng.standard_normal((DIRECTIONS, limit.size))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        directions = np.concatenate([directions, -directions])
        for number, length in enumerate(COARSE if self.coarse else FINE):
            push = max(length * self.eps[row], 1e-9 * self._scale[row])
            shares = self._follow_pushes(limit, push, directions)
            if not (shares <= RETURN).all():
                left = float(np.mean(~(shares <= GROWTH)))
                refuted = number == 0 and left > (0.5 if self.coarse else 0)
                return (False if refuted else None), f"{left:.0%} of the pushes of {push:.3g} leave"
        return True, "all pushes come back"

    def _follow_pushes(self, limit: Points, push: float, directions: Points) -> NDArray[np.float64]:
        """Return the part of each push that is left in the end; a slow transient first grows for a long time."""
        ends = limit + push * directions
        shares = np.full(len(ends), np.inf)
        for _ in range(PUSHED_ROUNDS):
            before = shares
            ends = follow_orbits(self.formula, ends, PUSHED_STEPS).points
            shares = np.linalg.norm(ends - limit, axis=1) / push
            if not ((shares > RETURN) & (shares < 0.99 * before)).any():
                break
        return shares


Answer = tuple[bool | None, str]


@dataclass(frozen=True)
class Orbits:
    """Hold where orbits end."""

    points: Points
    last: NDArray[np.float64]
    """Length of the last step of each orbit."""


def follow_orbits(formula: Formula, starts: Points, steps: int) -> Orbits:
    """Iterate until nothing moves beyond rounding, or until all that moves keeps its pace, as on a cycle.

    An orbit that leaves the number range ends as NaN.
    """
    points = starts
    last = np.zeros(len(starts))
    earlier = np.full(len(starts), np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            moved = formula(points)
            moved = np.where(np.abs(moved).max(1, keepdims=True) < 1e100, moved, np.nan)
            last = np.linalg.norm(moved - points, axis=1)
            points = moved
            moving = last > 1e-15 * np.linalg.norm(points, axis=1)  # NaN counts as settled
            if step % PACE == PACE - 1:
                moving &= ~(last > 0.99 * earlier)
                earlier = last
            if not moving.any():
                break
    return Orbits(points, np.nan_to_num(last))


def _polish(formula: Formula, points: Points, eps: Points) -> Points:
    """Take up to three Newton steps, by differences, where they lower the residual and stay within a tenth of eps."""
    polished = points.copy()
    for row, point in enumerate(points):
        best = point
        for _ in range(3):
            residual = formula(best[None])[0] - best
            if not np.isfinite(residual).all() or not residual.any():
                break
            system = np.eye(point.size) - measure_jacobian(formula, best)[0]
            trial = best + np.linalg.lstsq(system, residual, rcond=None)[0]
            left = np.linalg.norm(formula(trial[None])[0] - trial)
            if left < np.linalg.norm(residual) and np.linalg.norm(trial - point) < 0.1 * eps[row]:
                best = trial
        polished[row] = best
    return polished


def measure_jacobian(formula: Formula, point: Points, relative_step: float = DIFFERENCE) -> tuple[Points, float]:
    """Measure the Jacobian at a point by central differences.

    Returns:
        The Jacobian, and the norm of half the difference between its two one-sided versions: of the order of the step
        where the map is smooth, and of the order of the Jacobian itself at a kink.
    """
    step = relative_step * _measure_size(point)
    moves = step * np.eye(point.size)
    centre = formula(point[None])
    forward = (formula(point + moves) - centre).T / step
    backward = (centre - formula(point - moves)).T / step
    return (forward + backward) / 2, float(np.linalg.norm(forward - backward) / 2)


def _measure_size(point: Points) -> float:
    """Measure the typical entry of a point."""
    return max(float(np.linalg.norm(point)) / np.sqrt(point.size), 1e-30)


def measure_radius(
    formula: Formula, point: Points, relative_step: float = DIFFERENCE, *, kink: float = 1e-2
) -> tuple[float, float]:
    """Measure the spectral radius at a point with its error; NaN at a kink, where one-sided differences disagree.

    Where the map is smooth, central differences are off by far less than one-sided ones disagree. The error of the
    radius follows from that of the entries by the condition of the eigenvectors (Bauer and Fike, 1960), or by its root
    where a Jacobian is defective (Elsner, An optimal bound for the spectral variation of two matrices, 1985).
    """
    jacobian, disagreement = measure_jacobian(formula, point, relative_step)
    size = float(np.linalg.norm(jacobian))
    # Outputs are rounded to 2^-52 of their size; a deep network loses a few digits more.
    rounding = 1e-15 * float(np.linalg.norm(formula(point[None]))) / (relative_step * _measure_size(point))
    if not np.isfinite(size) or disagreement > kink * size + 10 * rounding * np.sqrt(point.size):
        return np.nan, np.nan
    values, vectors = np.linalg.eig(jacobian)
    noise = disagreement + 1e-9 * size + rounding
    by_condition = float(np.linalg.cond(vectors)) * noise
    by_root = (2 * size + noise) ** (1 - 1 / point.size) * noise ** (1 / point.size)
    return float(np.abs(values).max(initial=0.0)), min(by_condition, by_root)
