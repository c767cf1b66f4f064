r"""Check products with a Jacobian against differences of the map itself.

Automatic differentiation knows the operations that a program recorded for it, which need not be those of the map:
``no_grad`` hides a layer, a straight-through estimator invents a slope, a rule for a derivative may be wrong. At each
point the forward difference :math:`f(x + \delta) - f(x)`, the backward one :math:`f(x) - f(x - \delta)` and half of
their sum, the central one, are compared with :math:`J \delta` along two directions. The offset :math:`\delta` is the
difference of the points as rounded, so that its own rounding is not an error. A network of many kinks needs small
steps, rounding asks for large ones (Dennis and Schnabel, Numerical Methods for Unconstrained Optimization, 5.4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._types import Map

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
ONE_SIDED_ROOM = 1e-2
"""Relative gap allowed beside a kink, where others are near: a background of one colour puts whole layers on theirs."""


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


DOUBLE = Steps(1e-7, 1, 10, 10_000, 1e-4, 1e-3)
"""Steps in float64: a network of many kinks agrees to 1e-2 at 1e-5 and to 1e-6 at 1e-7."""
SINGLE = Steps(3e-4, 8, 32, 100, 0.2, 0.1)
"""Steps where some arithmetic is float32, which agrees to no more than some per cent at any step."""


def choose_steps(eps: float) -> Steps:
    """Choose the steps for an arithmetic of this rounding unit."""
    return DOUBLE if eps < 1e-12 else SINGLE


@dataclass(frozen=True)
class Surroundings:
    """What is known of the points around those that are checked."""

    scale: float
    """Usual norm of a point; 0 if all points are the origin."""
    low: float
    """Least coordinate of all points."""
    high: float
    """Largest coordinate of all points."""


def describe_surroundings(points: Float[Tensor, "batch dim"]) -> Surroundings:
    """Describe the region that the points fill."""
    norms = torch.linalg.vector_norm(points.double(), dim=1)
    positive = norms[norms > 0]
    scale = float(positive.median()) if len(positive) else 0.0
    return Surroundings(scale, float(points.min()), float(points.max()))


class Check(NamedTuple):
    """What the check found, one entry a point."""

    words: list[Derivative]
    resting: Float[Tensor, " batch"]
    """Share of the outputs that no step moved."""

    def summarise(self, count: int) -> "Check":
        """Return the least certain of the words for all of ``count`` points that share one Jacobian."""
        order: list[Derivative] = ["contradicted", "unverified", "resting", "one-sided", "verified"]
        return Check([min(self.words, key=order.index)] * count, self.resting.mean().expand(count))

    def leave_out(self, rows: Bool[Tensor, " batch"]) -> "Check":
        """Return the same, but unverified at points that have no Jacobian."""
        flags = zip(self.words, rows.tolist(), strict=True)
        return Check(["unverified" if left_out else word for word, left_out in flags], self.resting)


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
    ) -> Check:
        """Check the products ``push`` at ``points``.

        Args:
            points: Points.
            others: For each point another one, in whose direction the map is tried as well.
            push: J v for stacks (m, B, dim) of vectors at ``points``.
            staircase: Look for outputs that rest; False for a map that is known to be affine.

        Returns:
            Cost: 5 evaluations of f and 2 products a point; 4 to 8 evaluations more where outputs rest, 30 evaluations
            and 3 linearisations more at a kink.
        """
        probe = self._probe(points, _draw_directions(points, others), push)
        fine = probe.step(probe.steps.fine)
        verified = probe.verify(fine).all(0)
        contradicted = torch.zeros_like(verified)
        rows = (~verified).nonzero().flatten()
        if len(rows):
            verified[rows], contradicted[rows] = probe.select(rows).decide()
        one_sided = torch.zeros_like(verified)
        rows = (~verified & ~contradicted).nonzero().flatten()
        if len(rows):
            one_sided[rows], contradicted[rows] = self._check_beside(probe.select(rows))
        sound = verified | one_sided
        resting = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        rests = torch.zeros_like(verified)
        rows = (sound & fine.rest.any(1)).nonzero().flatten()
        if staircase and len(rows):
            rests[rows], resting[rows] = probe.select(rows).find_rest()
        words: list[Derivative] = ["unverified"] * len(points)
        flags = {"verified": verified, "one-sided": one_sided, "resting": rests, "contradicted": contradicted}
        for word, flag in flags.items():
            for row in flag.nonzero().flatten().tolist():
                words[row] = word
        return Check(words, resting)

    def _probe(self, points: Tensor, directions: Tensor, push: Map) -> "_Probe":
        """Choose the steps at some points, and predict what they change."""
        steps = choose_steps(self.eps)
        centre = _evaluate(self.f, points)
        scale = _measure_scale(points, centre, self.surroundings.scale)
        delta = points + steps.least * scale[:, None] * directions - points
        size = torch.linalg.vector_norm(points, dim=1) + torch.linalg.vector_norm(centre, dim=1)
        return _Probe(self.f, points, centre, delta, push(delta), scale, NOISE * self.eps * size, self.eps, steps)

    def _check_beside(self, probe: "_Probe") -> tuple[Tensor, Tensor]:
        """Tell where the derivative is verified, or contradicted, at two points beside each point.

        The products at the point itself must be those that ``form_push`` gives there.
        """
        own = self.form_push(probe.points)(probe.delta)
        gap = torch.linalg.vector_norm(own - probe.predicted, dim=2)
        sound = (gap <= probe.allow(own, 1)).all(0)
        contradicted = torch.zeros_like(sound)
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            moved = self._move_inside(probe.points, probe.scale, generator)
            beside = self._probe(moved, probe.delta / (probe.steps.least * probe.scale[:, None]), self.form_push(moved))
            verified, refuted = beside.decide(max(ONE_SIDED_ROOM, beside.steps.room))
            sound &= verified
            contradicted |= refuted
        return sound & ~contradicted, contradicted

    def _move_inside(self, points: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """Move every coordinate of the points by a small distance to a random side, but not out of the data's box.

        No coordinate moves by much less than the others, because it might stay at its kink.
        """
        dim = points.shape[1]
        side = torch.randint(0, 2, (dim,), generator=generator) * 2 - 1
        length = 0.5 + torch.rand(dim, generator=generator, dtype=torch.float64)
        offset = choose_steps(self.eps).move / dim**0.5 * scale[:, None] * (side * length).to(points)
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


@dataclass(frozen=True)
class _Probe:
    """Differences of a map at some points along some directions, beside what its Jacobian predicts."""

    f: Map
    points: Float[Tensor, "batch dim"]
    centre: Float[Tensor, "batch dim"]
    delta: Float[Tensor, "directions batch dim"]
    predicted: Float[Tensor, "directions batch dim"]
    scale: Float[Tensor, " batch"]
    noise: Float[Tensor, " batch"]
    """Allowance for the rounding of one value of f."""
    eps: float
    steps: Steps

    def select(self, rows: Tensor) -> "_Probe":
        """Return the same for some of the points."""
        return _Probe(
            self.f,
            self.points[rows],
            self.centre[rows],
            self.delta[:, rows],
            self.predicted[:, rows],
            self.scale[rows],
            self.noise[rows],
            self.eps,
            self.steps,
        )

    def step(self, multiple: int) -> _Step:
        """Evaluate the map on both sides of each point."""
        offset = multiple * self.delta
        sides = torch.stack([self.points + offset, self.points - offset])
        ahead, behind = _evaluate(self.f, sides.flatten(0, -2)).reshape(sides.shape)
        still = STILL * self.eps * self.centre.abs().amax(1, keepdim=True)
        moved = torch.maximum((ahead - self.centre).abs(), (behind - self.centre).abs())
        bend = torch.linalg.vector_norm(ahead - 2 * self.centre + behind, dim=2)
        return _Step(multiple, (ahead - behind) / 2, bend, (moved <= still).all(0))

    def allow(self, change: Tensor, multiple: int, room: float | None = None) -> Tensor:
        """Return the gap that is allowed beside a change of this size."""
        return (room or self.steps.room) * multiple * torch.linalg.vector_norm(change, dim=2) + self.noise

    def verify(self, step: _Step, room: float | None = None) -> Tensor:
        """Tell where the Jacobian predicts the differences on both sides, and rounding could not hide that it does not.

        A random direction shows about the Frobenius norm of a part of the Jacobian over the root of the dimension.
        """
        return self._agrees(step, room) & self._is_straight(step, room)

    def decide(self, room: float | None = None) -> tuple[Tensor, Tensor]:
        """Tell where two steps verify the Jacobian, and where they contradict it."""
        fine = self.step(self.steps.fine)
        coarse = self.step(self.steps.coarse)
        ratio = coarse.multiple / fine.multiple
        smooth = fine.bend * ratio <= CURVED * coarse.bend
        straight = [self._is_straight(step, room) for step in (fine, coarse)]
        agrees = self._agrees(fine, room) | self._agrees(coarse, room)
        verified = (agrees & (straight[0] | straight[1] | smooth)).all(0)

        same = torch.linalg.vector_norm(ratio * fine.central - coarse.central, dim=2)
        steady = straight[0] & straight[1] & (same <= self.allow(coarse.central, 1) + ratio * self.noise)
        contradicted = steady & self._differs(fine) & self._differs(coarse)
        return verified, contradicted.any(0)

    def find_rest(self) -> tuple[Tensor, Tensor]:
        """Find the points whose outputs rest under small steps, and the share of outputs that no step moves.

        A derivative that is small but right predicts how far its outputs move at the largest step. The outputs of a
        staircase rest on one stair, and jump at a step that the derivative knows nothing of.
        """
        fine = self.step(self.steps.fine)
        coarse = self.step(self.steps.coarse)
        far = self.step(self.steps.far)
        rest = fine.rest & coarse.rest & far.rest
        jumps = torch.zeros(len(rest), dtype=torch.bool, device=rest.device)
        for step in (coarse, far):
            surprise = (step.central - step.multiple * self.predicted) * fine.rest
            most = 0.5 * torch.linalg.vector_norm(step.central, dim=2)
            length = torch.linalg.vector_norm(surprise, dim=2)
            jumps |= ((length > most) & (length > self.noise)).any(0)
        return rest.all(1) | jumps, rest.double().mean(1)

    def _agrees(self, step: _Step, room: float | None) -> Tensor:
        """Tell where the central difference is what the Jacobian predicts."""
        gap = torch.linalg.vector_norm(step.central - step.multiple * self.predicted, dim=2)
        relative = self.allow(self.predicted, step.multiple, room) - self.noise
        length = step.multiple * torch.linalg.vector_norm(self.delta, dim=2)
        visible = torch.maximum(relative, HIDDEN * length / self.points.shape[1] ** 0.5)
        return (gap <= relative + self.noise) & (self.noise <= visible)

    def _differs(self, step: _Step) -> Tensor:
        """Tell where the central difference is not what the Jacobian predicts, whatever the rounding."""
        gap = torch.linalg.vector_norm(step.central - step.multiple * self.predicted, dim=2)
        return gap > torch.maximum(self.allow(self.predicted, step.multiple), self.allow(step.central, 1))

    def _is_straight(self, step: _Step, room: float | None) -> Tensor:
        """Tell where the forward and the backward difference agree."""
        return step.bend <= 2 * self.allow(step.central, 1, room)


def _evaluate(f: Map, points: Tensor) -> Tensor:
    """Evaluate a function of flat rows, some rows at a time."""
    return torch.cat([f(rows) for rows in points.split(ROWS)])


def _draw_directions(points: Tensor, others: Tensor) -> Float[Tensor, "2 batch dim"]:
    """Draw two unit directions a point: a random one, and the one towards another point, if it is another."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, points.shape[1], generator=generator, dtype=torch.float64).to(points)
    towards = others - points
    length = torch.linalg.vector_norm(towards, dim=1, keepdim=True)
    second = torch.where(length > 0, towards, drawn[1])
    directions = torch.stack([drawn[0].expand_as(points), second])
    return directions / torch.linalg.vector_norm(directions, dim=2, keepdim=True)


def _measure_scale(points: Tensor, images: Tensor, usual: float) -> Tensor:
    """Return the length to which the steps at each point are relative.

    That is the norm of the point. Near the origin the norm is an accident, and the distances at which the map changes
    are those of the data: their usual norm; else that of f(x), to which the origin is sent; else 1.
    """
    norms = torch.linalg.vector_norm(points, dim=1)
    if not usual:
        sizes = torch.linalg.vector_norm(images, dim=1)
        positive = sizes[sizes > 0]
        usual = float(positive.median()) if len(positive) else 1.0
    return torch.where(norms >= NEAR_ZERO * usual, norms, usual)
