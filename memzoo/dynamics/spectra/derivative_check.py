r"""Check products with a Jacobian against differences of the map itself.

Automatic differentiation knows the operations that a program recorded for it, which need not be those of the map:
``no_grad`` hides a layer, a straight-through estimator invents a slope, a rule for a derivative may be wrong. At each
point the forward difference :math:`f(x + \delta) - f(x)`, the backward one :math:`f(x) - f(x - \delta)` and half of
their sum, the central one, are compared with :math:`J \delta` along two directions. The offset :math:`\delta` is the
difference of the points as rounded, so that its own rounding is not an error. A network of many kinks needs small
steps, rounding asks for large ones (Dennis and Schnabel, Numerical Methods for Unconstrained Optimization, 5.4).
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._types import Map
from memzoo.errors import MemzooError

Derivative = Literal["verified", "one-sided", "resting", "unverified", "contradicted"]
ROWS = 256
"""Rows on which the map is evaluated at one time."""
NOISE = 100
"""Units in the last place, relative to |x| + |f(x)|, that the rounding of f is allowed."""
HIDDEN = 0.1
"""Norm of a part of the Jacobian that rounding must not be able to hide where the derivative is called verified."""
STILL = 4
"""Units in the last place of the largest output within which an output rests: its bits depend on its row of a batch."""
NEAR_ZERO = 1e-3
"""Share of the usual norm of the points below which the norm of a point is no scale."""
CURVED = 0.3
"""Share to which a smooth map brings the bend per step, if the step is shortened to a tenth; at a kink it stays."""
LOOSE = 2500
"""Times the room: gap that is allowed at one step, in a network of many kinks, if another step agrees."""
GROSS = 0.5
"""Relative gap at the far step from which on the derivative says nothing about distances that matter."""
AWAY = (0.5, 0.1)
"""Distances, relative to the scale of the point, at which outputs that rest are looked at once more."""
SMOOTH = 0.01
"""Relative gap between differences at two steps where a map moves in proportion to them."""
FEW = 4
"""Points at which a map is searched for staircases first."""
BENDS = 3
"""Bends by which the derivative at a kink may differ from the mean of its sides; half of one, if all have one sign."""
STEPS_OF_GROWTH = 12
"""Steps of the map beside a kink; the first half of them turns the offset to where it grows most."""


class Steps(NamedTuple):
    """Steps of differences relative to the norm of the point, as multiples of the least one."""

    least: float
    fine: int
    coarse: int
    far: int
    """Step at which an output that rests must rest too."""
    room: float
    """Relative gap between a difference and the product with the Jacobian that is allowed."""
    move: float
    """Distance from a kink at which the check is repeated, relative to the norm of the point."""
    shortened: float
    """Least step that is tried where a longer one shows a bend: it may be a kink, or a map of a smaller scale."""
    beside: float
    """Least step at the points beside a kink, where more kinks are near than elsewhere."""


DOUBLE = Steps(1e-7, 1, 10, 10_000, 1e-4, 1e-3, 1e-9, 1e-8)
"""Steps in float64: a network of many kinks agrees to 1e-2 at 1e-5 and to 1e-6 at 1e-7."""
SINGLE = Steps(3e-4, 8, 32, 100, 0.2, 0.1, 3e-4, 3e-4)
"""Steps where some arithmetic is float32, which agrees to no more than some per cent at any step."""
BETWEEN = Steps(1e-3, 1, 10, 100, 1e-4, 0.1, 1e-3, 1e-3)
"""Steps relative to the distance between two fixed points: none leads more than a tenth of the way."""


@dataclass(frozen=True)
class Surroundings:
    """What is known of the points around those that are checked."""

    scale: float
    """Usual norm of a point; 0 if all points are the origin."""
    low: float
    """Least coordinate of all points."""
    high: float
    """Largest coordinate of all points."""

    def width(self, dim: int) -> float:
        """Return the diagonal of the box that holds all points; infinity if it holds one value alone."""
        return (self.high - self.low) * dim**0.5 or math.inf


def describe_surroundings(points: Float[Tensor, "batch dim"]) -> Surroundings:
    """Describe the region that the points fill."""
    norms = torch.linalg.vector_norm(points.double(), dim=1)
    positive = norms[norms > 0]
    scale = float(positive.median()) if len(positive) else 0.0
    return Surroundings(scale, float(points.min()), float(points.max()))


ALONE = 1e5
"""Distance from a fixed point without others, in units of the rounding of f, to which steps are relative there."""


class Check(NamedTuple):
    """What the check found, one entry a point."""

    words: list[Derivative]
    resting: Float[Tensor, " batch"]
    """Share of the outputs that no step moved."""
    growth: Float[Tensor, " batch"]
    """Factor by which a small offset grows a step, by differences of the map; 0 where the point is at no kink."""

    def summarise(self, count: int) -> "Check":
        """Return the least certain of the words for all of ``count`` points that share one Jacobian."""
        order: list[Derivative] = ["contradicted", "unverified", "resting", "one-sided", "verified"]
        word = min(self.words, key=order.index)
        return Check([word] * count, self.resting.mean().expand(count), self.growth.amax().expand(count))

    def mark(self, *words: Derivative) -> Bool[Tensor, " batch"]:
        """Mark the points of which one of these words is said."""
        return torch.tensor([word in words for word in self.words], device=self.growth.device)

    def adopt(self, other: "Check", rows: Bool[Tensor, " batch"]) -> "Check":
        """Return the same with what another check found in the rows that are marked, where it verifies them."""
        taken = rows & ~other.mark("unverified", "contradicted")
        triples = zip(self.words, other.words, taken.tolist(), strict=True)
        words: list[Derivative] = [new if marked else old for old, new, marked in triples]
        resting = torch.where(taken, other.resting, self.resting)
        return Check(words, resting, torch.where(taken, other.growth, self.growth))

    def withdraw(self, rows: Bool[Tensor, " batch"]) -> "Check":
        """Return the same, but unverified at the points that are marked."""
        flags = zip(self.words, rows.tolist(), strict=True)
        return self._replace(words=["unverified" if marked else word for word, marked in flags])


@dataclass(frozen=True)
class DerivativeCheck:
    """Compare products with the Jacobians of a map with its differences.

    Args:
        f: Function of a batch of flat rows.
        form_push: Returns the product J v, for stacks (m, B, dim), at any points (B, dim); it is used beside kinks.
        eps: Rounding unit of the arithmetic of ``f``.
        surroundings: Region of the data.
    """

    f: Map
    form_push: Callable[[Tensor], Map]
    eps: float
    surroundings: Surroundings

    @torch.no_grad()
    def check(
        self,
        points: Float[Tensor, "batch dim"],
        others: Float[Tensor, "batch dim"],
        push: Map,
        *,
        staircase: bool = True,
        fellows: Float[Tensor, "all dim"] | None = None,
    ) -> Check:
        """Check the products ``push`` at ``points``.

        A map that contracts around two fixed points does not do so all the way between them. Where steps relative to
        the norm of a fixed point do not verify its derivative, steps relative to the distance of the next one may, if
        the map is seen to have another slope there.

        Args:
            points: Points (B, dim).
            others: For each point another one, in whose direction the map is tried as well.
            push: J v for stacks (m, B, dim) of vectors at ``points``.
            staircase: Look for outputs that rest; False for a map that is known to be affine.
            fellows: All points that are measured, ``points`` among them; ``points`` alone when left out.

        Returns:
            What was found; unverified at all points if f cannot be evaluated beside one of them.

            Cost: 5 evaluations of f and 2 products a point; 22 evaluations more where outputs rest; at a kink some 60
            evaluations and 3 linearisations more; one evaluation at all fellows where fixed points are not verified.
        """
        fellows = points if fellows is None else fellows
        try:
            return self._check_at_scales(points, others, push, fellows, staircase=staircase)
        except _UndefinedError as error:
            warnings.warn(
                f"f cannot be evaluated beside the points ({error}), so that its derivative is not verified; pass a "
                "map that has a value at all points near them.",
                stacklevel=4,
            )
        unknown = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        return Check(["unverified"] * len(points), unknown, unknown)

    def _check_at_scales(self, points: Tensor, others: Tensor, push: Map, fellows: Tensor, *, staircase: bool) -> Check:
        """Check with steps relative to the norm of a point, and where they do not verify, with shorter ones."""
        scale = _measure_scale(self.f, points, self.surroundings.scale)
        found = self._check_with(self.steps, scale, points, others, push, staircase=staircase)
        rows = found.mark("unverified", "contradicted").nonzero().flatten()
        if not len(rows):
            return found
        distance = torch.full_like(scale, torch.inf)
        distance[rows] = self._find_next_fixed(points[rows], fellows)
        shorter = torch.minimum(distance, scale)
        rows = (shorter < scale).nonzero().flatten()
        if len(rows):
            directions = _draw_directions(points, others)[:, rows]
            rows = rows[self._changes_slope(points[rows], directions, scale[rows], shorter[rows])]
        if not len(rows):
            return found
        near = torch.zeros_like(scale, dtype=torch.bool).index_fill(0, rows, True)
        again = self._check_with(BETWEEN, shorter, points, others, push, staircase=staircase)
        return found.adopt(again, near)

    def _changes_slope(self, points: Tensor, directions: Tensor, long: Tensor, short: Tensor) -> Bool[Tensor, " batch"]:
        """Tell where the map itself has another slope at the shorter of two scales, whatever the rounding.

        Otherwise the shorter steps would excuse a wrong derivative, only because they show fewer of its digits.
        """
        slopes = []
        for steps, scale in ((self.steps, long), (BETWEEN, short)):
            length = steps.coarse * steps.least * scale[:, None]
            offset = points + length * directions - points
            ahead, behind = (_evaluate(self.f, rows.flatten(0, 1)) for rows in (points + offset, points - offset))
            slopes.append((ahead - behind).reshape(offset.shape) / (2 * length))
        gap = torch.linalg.vector_norm(slopes[0] - slopes[1], dim=2)
        noise = self._allow_rounding(points, points) / (BETWEEN.coarse * BETWEEN.least * short)
        room = BETWEEN.room * torch.linalg.vector_norm(slopes[1], dim=2) + 2 * noise
        return (gap > room).any(0)

    def _find_next_fixed(self, points: Tensor, fellows: Tensor) -> Float[Tensor, " batch"]:
        """Return the distance of each point from the nearest other fixed point; infinity if it is not fixed itself.

        A fixed point that stands alone may be one of many: it gets the least distance at which rounding hides little.
        """
        distance = torch.full_like(points[:, 0], torch.inf)
        rows = self._find_fixed(points).nonzero().flatten()
        if len(rows):
            fixed = fellows[self._find_fixed(fellows)]
            apart = torch.cdist(points[rows], fixed, compute_mode="donot_use_mm_for_euclid_dist")
            noise = self._allow_rounding(points[rows], points[rows])
            nearest = apart.masked_fill(apart <= noise[:, None], torch.inf).amin(1)
            distance[rows] = torch.where(nearest.isfinite(), nearest, ALONE * noise)
        return distance

    def _find_fixed(self, points: Tensor) -> Bool[Tensor, " batch"]:
        """Find the points that the map moves by no more than rounding."""
        images = _evaluate(self.f, points)
        return torch.linalg.vector_norm(images - points, dim=1) <= self._allow_rounding(points, images)

    def _allow_rounding(self, points: Tensor, images: Tensor) -> Float[Tensor, " batch"]:
        """Return the rounding that one value of f is allowed."""
        return NOISE * self.eps * (torch.linalg.vector_norm(points, dim=1) + torch.linalg.vector_norm(images, dim=1))

    def _check_with(
        self, steps: Steps, scale: Tensor, points: Tensor, others: Tensor, push: Map, *, staircase: bool
    ) -> Check:
        """Check the products with steps that are relative to ``scale``, one length a point."""
        probe, coarse = self._probe(points, _draw_directions(points, others), push, steps, scale)
        decision = probe.decide(coarse)
        verified = decision.verified
        contradicted = decision.contradicted
        one_sided = torch.zeros_like(verified)
        growth = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        rows = (~verified).nonzero().flatten()
        if len(rows) and steps.shortened < steps.least:
            shortened = probe.select(rows).shorten(steps.shortened)
            shorter = shortened.decide(shortened.step(steps.coarse))
            # A map of a smaller scale is nearly right at the longer steps; a staircase is not.
            verified[rows] = shorter.verified & decision.nearly[rows]
            # What shorter steps verify is the derivative, however the map goes on.
            contradicted[rows] = (contradicted[rows] | shorter.contradicted) & ~shorter.verified
            rows = rows[~shorter.verified]
        rows = rows[~contradicted[rows]]
        if len(rows):
            one_sided[rows], contradicted[rows] = self._check_beside(probe.select(rows))
            one_sided[rows] &= probe.select(rows).lies_between_sides(coarse.select(rows))
            growth[rows] = probe.select(rows).measure_growth()
        if staircase:
            verified &= ~self._find_misled(probe)
        resting = torch.zeros_like(growth)
        rests = torch.zeros_like(verified)
        rows = ((verified | one_sided) & coarse.rest.any(1)).nonzero().flatten()
        if staircase and len(rows):
            rests[rows], resting[rows] = probe.select(rows).find_rest(coarse.select(rows))
        flags: dict[Derivative, Tensor] = {
            "verified": verified,
            "one-sided": one_sided,
            "resting": rests,
            "contradicted": contradicted,
        }
        return Check(_name_rows(flags), resting, growth)

    @property
    def steps(self) -> Steps:
        """Return the steps for the arithmetic of the map: some of it may be float32."""
        return DOUBLE if self.eps < 1e-12 else SINGLE

    def _probe(
        self, points: Tensor, directions: Tensor, push: Map, steps: Steps, scale: Tensor
    ) -> "tuple[_Probe, _Step]":
        """Predict what the steps change at some points, and take the first one."""
        delta = points + steps.least * scale[:, None] * directions - points
        offset = steps.coarse * delta
        # One call for all is quicker than one for each side.
        rows = torch.cat([points[None], points + offset, points - offset])
        images = _evaluate(self.f, rows.flatten(0, 1)).reshape(rows.shape)
        centre = images[0]
        noise = self._allow_rounding(points, centre)
        probe = _Probe(self.f, points, centre, directions, delta, push(delta), scale, noise, self.eps, steps)
        return probe, probe.compare(steps.coarse, *images[1:].chunk(2))

    def _find_misled(self, probe: "_Probe") -> Bool[Tensor, " batch"]:
        """Find the points around which the map does not move as the derivative says.

        At a fixed point the derivative decides about attraction, however small the region in which it holds. A
        staircase belongs to the map, not to a point: if a few points show none, there is none.
        """
        width = self.surroundings.width(probe.points.shape[1])
        count = len(probe.points)
        few = torch.linspace(0, count - 1, min(count, FEW), device=probe.points.device).round().long()
        if not probe.select(few).is_misled(width).any():
            return torch.zeros(count, dtype=torch.bool, device=few.device)
        return probe.is_misled(width) & ~probe.find_fixed()

    def _check_beside(self, probe: "_Probe") -> tuple[Tensor, Tensor]:
        """Tell where the derivative is verified, or contradicted, at two points beside each point.

        The products at the point itself must be those that ``form_push`` gives there.
        """
        own = self.form_push(probe.points)(probe.delta)
        gap = torch.linalg.vector_norm(own - probe.predicted, dim=2)
        sound = (gap <= probe.allow(own)).all(0)
        contradicted = torch.zeros_like(sound)
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            moved = self._move_inside(probe.points, probe.steps.move * probe.scale, generator)
            steps = probe.steps._replace(least=probe.steps.beside)
            beside, coarse = self._probe(moved, probe.directions, self.form_push(moved), steps, probe.scale)
            found = beside.decide(coarse)
            sound &= found.verified
            contradicted |= found.contradicted
        return sound & ~contradicted, contradicted

    def _move_inside(self, points: Tensor, distance: Tensor, generator: torch.Generator) -> Tensor:
        """Move every coordinate of the points by a small distance to a random side, but not out of the data's box.

        No coordinate moves by much less than the others, because it might stay at its kink.
        """
        dim = points.shape[1]
        side = torch.randint(0, 2, (dim,), generator=generator) * 2 - 1
        length = 0.5 + torch.rand(dim, generator=generator, dtype=torch.float64)
        offset = distance[:, None] / dim**0.5 * (side * length).to(points)
        inside = self.surroundings
        moved = points + offset
        if inside.high - inside.low > 4 * float(offset.abs().max()):
            leaves = ((moved < inside.low) | (moved > inside.high)) & (points >= inside.low) & (points <= inside.high)
            moved = torch.where(leaves, points - offset, moved)
        return moved


class _Step(NamedTuple):
    """Differences of the map at one step; one row a direction and a point."""

    multiple: int
    central: Tensor
    bend: Float[Tensor, "directions batch"]
    """Norm of the forward minus the backward difference."""
    rest: Bool[Tensor, "batch dim"]
    """Outputs that did not move, in any direction."""

    def select(self, rows: Tensor) -> "_Step":
        """Return the same for some of the points."""
        return _Step(self.multiple, self.central[:, rows], self.bend[:, rows], self.rest[rows])


class _Decision(NamedTuple):
    """Where differences verify the Jacobian, and where they contradict it."""

    verified: Bool[Tensor, " batch"]
    contradicted: Bool[Tensor, " batch"]
    nearly: Bool[Tensor, " batch"]
    """Where some step is not far from what the Jacobian predicts."""


@dataclass(frozen=True)
class _Probe:
    """Differences of a map at some points along some directions, beside what its Jacobian predicts."""

    f: Map
    points: Float[Tensor, "batch dim"]
    centre: Float[Tensor, "batch dim"]
    directions: Float[Tensor, "directions batch dim"]
    delta: Float[Tensor, "directions batch dim"]
    predicted: Float[Tensor, "directions batch dim"]
    scale: Float[Tensor, " batch"]
    noise: Float[Tensor, " batch"]
    """Allowance for the rounding of one value of f."""
    eps: float
    steps: Steps

    def select(self, rows: Tensor) -> "_Probe":
        """Return the same for some of the points."""
        return replace(
            self,
            points=self.points[rows],
            centre=self.centre[rows],
            directions=self.directions[:, rows],
            delta=self.delta[:, rows],
            predicted=self.predicted[:, rows],
            scale=self.scale[rows],
            noise=self.noise[rows],
        )

    def shorten(self, least: float) -> "_Probe":
        """Return the same with another least step; the Jacobian is linear, the rounding of the offset is not."""
        delta = self.points + least * self.scale[:, None] * self.directions - self.points
        return replace(self, delta=delta, predicted=self.predicted * (least / self.steps.least))

    def step(self, multiple: int) -> _Step:
        """Evaluate the map on both sides of each point."""
        offset = multiple * self.delta
        sides = torch.stack([self.points + offset, self.points - offset])
        ahead, behind = _evaluate(self.f, sides.flatten(0, -2)).reshape(sides.shape)
        return self.compare(multiple, ahead, behind)

    def compare(self, multiple: int, ahead: Tensor, behind: Tensor) -> _Step:
        """Compare the images on both sides with those of the points."""
        still = STILL * self.eps * self.centre.abs().amax(1, keepdim=True)
        moved = torch.maximum((ahead - self.centre).abs(), (behind - self.centre).abs())
        bend = torch.linalg.vector_norm(ahead - 2 * self.centre + behind, dim=2)
        return _Step(multiple, (ahead - behind) / 2, bend, (moved <= still).all(0))

    def allow(self, change: Tensor, factor: float = 1) -> Tensor:
        """Return the gap that is allowed beside a change of this size."""
        return factor * self.steps.room * torch.linalg.vector_norm(change, dim=2) + self.noise

    def decide(self, coarse: _Step) -> _Decision:
        """Tell where one step or two steps verify the Jacobian, and where two steps contradict it."""
        verified = (self._agrees(coarse) & self._is_straight(coarse)).all(0)
        contradicted = torch.zeros_like(verified)
        nearly = verified.clone()
        rows = (~verified).nonzero().flatten()
        if len(rows):
            verdicts = self.select(rows)._decide_by_two_steps(coarse.select(rows))
            verified[rows], contradicted[rows], nearly[rows] = verdicts
        return _Decision(verified, contradicted, nearly)

    def _decide_by_two_steps(self, coarse: _Step) -> tuple[Tensor, Tensor, Tensor]:
        """Decide in the same way with a second, shorter step, and tell where one of the two is nearly right."""
        fine = self.step(self.steps.fine)
        ratio = coarse.multiple / fine.multiple
        smooth = fine.bend * ratio <= CURVED * coarse.bend
        straight = torch.stack([self._is_straight(step) for step in (fine, coarse)])
        near = torch.stack([self._agrees(step, LOOSE) for step in (fine, coarse)])
        agrees = self._agrees(coarse) | (self._agrees(fine) & near[1])
        verified = (agrees & (straight.any(0) | smooth)).all(0)

        change = torch.linalg.vector_norm(ratio * fine.central - coarse.central, dim=2)
        steady = straight.all(0) & (change <= self.allow(coarse.central) + ratio * self.noise)
        contradicted = steady & self._differs(fine) & self._differs(coarse)
        return verified, contradicted.any(0), near.any(0).all(0)

    def lies_between_sides(self, coarse: _Step) -> Bool[Tensor, " batch"]:
        """Tell where the derivative at a kink differs from the central difference by no more than the two sides do.

        The gradient at a tie is a convention. That of one unit is half of the bend away from the mean of both sides,
        but large terms that cancel on both sides may leave anything.
        """
        gap = torch.linalg.vector_norm(coarse.central - coarse.multiple * self.predicted, dim=2)
        return (gap <= BENDS * coarse.bend + self.allow(coarse.central)).all(0)

    def is_misled(self, width: float) -> Bool[Tensor, " batch"]:
        """Tell where the map moves at the far step as the derivative does not say, by a part that matters.

        A staircase beside a smooth map has no derivative of its own. The unexplained part counts if its norm, which a
        random direction shows divided by the root of the dimension, is not small beside 1. Data far from the origin ask
        for a step that is small beside the ``width`` of their box.
        """
        multiple = self.steps.far * (width / self.scale).clamp(max=1)[:, None]
        offset = multiple * self.delta[0]
        predicted = multiple * self.predicted[0]
        change = _evaluate(self.f, self.points + offset) - self.centre
        gap = torch.linalg.vector_norm(change - predicted, dim=1)
        size = torch.maximum(torch.linalg.vector_norm(change, dim=1), torch.linalg.vector_norm(predicted, dim=1))
        length = torch.linalg.vector_norm(offset, dim=1) / self.points.shape[1] ** 0.5
        return (gap > GROSS * size) & (gap > GROSS * length) & (gap > self.noise)

    def find_rest(self, coarse: _Step) -> tuple[Tensor, Tensor]:
        """Find the points whose outputs rest under small steps, and the share of outputs that no step moves.

        A derivative that is small but right predicts how far its outputs move at the far step. The outputs of a
        staircase rest on one stair, and jump at a step that the derivative knows nothing of.
        """
        far = self.step(self.steps.far)
        rest = coarse.rest & far.rest
        surprise = (far.central - far.multiple * self.predicted) * coarse.rest
        length = torch.linalg.vector_norm(surprise, dim=2)
        most = GROSS * torch.linalg.vector_norm(far.central, dim=2)
        jumps = ((length > most) & (length > self.noise)).any(0)
        rests = rest.all(1) | jumps
        rows = rests.nonzero().flatten()
        if len(rows):
            rests[rows] = ~self.select(rows).moves_elsewhere(coarse.rest[rows])
        return rests, rest.double().mean(1)

    def moves_elsewhere(self, rest: Bool[Tensor, "batch dim"]) -> Bool[Tensor, " batch"]:
        """Tell where the outputs that ``rest`` move smoothly farther away: they are saturated, not rounded.

        Most of what changes on the way must also move under small steps, in proportion to them.
        """
        found = torch.zeros(len(self.points), dtype=torch.bool, device=self.points.device)
        for share in AWAY:
            points = self.points + share * self.scale[:, None] * self.directions[1]
            away = replace(self, points=points, centre=_evaluate(self.f, points))
            fine, coarse = away.step(self.steps.fine), away.step(self.steps.coarse)
            ratio = coarse.multiple / fine.multiple
            gap = torch.linalg.vector_norm(ratio * fine.central - coarse.central, dim=2)
            steady = (gap <= SMOOTH * torch.linalg.vector_norm(coarse.central, dim=2) + ratio * self.noise).all(0)
            change = (away.centre - self.centre) * rest
            whole = torch.linalg.vector_norm(change, dim=1)
            unmoved = torch.linalg.vector_norm(change * fine.rest, dim=1)
            found |= steady & (whole > self.noise) & (unmoved <= GROSS * whole)
        return found

    def find_fixed(self) -> Bool[Tensor, " batch"]:
        """Find the points that the map moves by no more than rounding."""
        return torch.linalg.vector_norm(self.centre - self.points, dim=1) <= self.noise

    def measure_growth(self) -> Float[Tensor, " batch"]:
        r"""Measure by which factor a small offset grows a step, under :math:`v \mapsto f(x + v) - f(x)`.

        Beside a kink this map is not linear, so that no matrix has its growth; it is started on both sides.
        """
        offset = torch.cat([self.delta[0], -self.delta[0]])
        points = self.points.repeat(2, 1)
        centre = self.centre.repeat(2, 1)
        length = torch.linalg.vector_norm(offset, dim=1, keepdim=True)
        factors: list[Tensor] = []
        for _ in range(STEPS_OF_GROWTH):
            offset = _evaluate(self.f, points + offset) - centre
            size = torch.linalg.vector_norm(offset, dim=1, keepdim=True)
            factors.append((size / length).double().squeeze(1))
            offset = offset * torch.where(size > 0, length / size, 0.0)
        late = torch.stack(factors[STEPS_OF_GROWTH // 2 :])
        return late.log().mean(0).exp().reshape(2, -1).amax(0)

    def _agrees(self, step: _Step, factor: float = 1) -> Tensor:
        """Tell where the central difference is what the Jacobian predicts, and rounding could not hide that it is not.

        A random direction shows about the Frobenius norm of a part of the Jacobian over the root of the dimension.
        """
        predicted = step.multiple * self.predicted
        gap = torch.linalg.vector_norm(step.central - predicted, dim=2)
        room = self.allow(predicted, factor)
        length = step.multiple * torch.linalg.vector_norm(self.delta, dim=2)
        visible = torch.maximum(room - self.noise, HIDDEN * length / self.points.shape[1] ** 0.5)
        return (gap <= room) & (self.noise <= visible)

    def _differs(self, step: _Step) -> Tensor:
        """Tell where the central difference is not what the Jacobian predicts, whatever the rounding."""
        predicted = step.multiple * self.predicted
        gap = torch.linalg.vector_norm(step.central - predicted, dim=2)
        return gap > torch.maximum(self.allow(predicted), self.allow(step.central))

    def _is_straight(self, step: _Step) -> Tensor:
        """Tell where the forward and the backward difference agree."""
        return step.bend <= 2 * self.allow(step.central)


def _name_rows(flags: dict[Derivative, Tensor]) -> list[Derivative]:
    """Return the last of the words that is marked for each row."""
    words: list[Derivative] = ["unverified"] * len(flags["verified"])
    for word, marks in flags.items():
        for row in marks.nonzero().flatten().tolist():
            words[row] = word
    return words


class _UndefinedError(Exception):
    """The map has no value beside a point."""


def _evaluate(f: Map, points: Tensor) -> Tensor:
    """Evaluate a function of flat rows, some rows at a time."""
    try:
        return torch.cat([f(rows) for rows in points.split(ROWS)])
    except (MemzooError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a stranger's code may raise anything outside of the range of its data
        raise _UndefinedError(f"{type(error).__name__}: {error}") from error


def _draw_directions(points: Tensor, others: Tensor) -> Float[Tensor, "2 batch dim"]:
    """Draw two unit directions a point: a random one, and the one towards another point, if it is another."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, points.shape[1], generator=generator, dtype=torch.float64).to(points)
    towards = others - points
    length = torch.linalg.vector_norm(towards, dim=1, keepdim=True)
    second = torch.where(length > 0, towards, drawn[1])
    directions = torch.stack([drawn[0].expand_as(points), second])
    return directions / torch.linalg.vector_norm(directions, dim=2, keepdim=True)


def _measure_scale(f: Map, points: Tensor, usual: float) -> Tensor:
    """Return the length to which the steps at each point are relative.

    That is the norm of the point. Near the origin the norm is an accident, and the distances at which the map changes
    are those of the data: their usual norm; else that of f(x), to which the origin is sent; else 1.
    """
    norms = torch.linalg.vector_norm(points, dim=1)
    if not usual:
        sizes = torch.linalg.vector_norm(_evaluate(f, points), dim=1)
        positive = sizes[sizes > 0]
        usual = float(positive.median()) if len(positive) else 1.0
    return torch.where(norms >= NEAR_ZERO * usual, norms, usual)
