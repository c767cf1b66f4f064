r"""Evaluate a map at small steps around some points, beside what its Jacobian predicts.

The forward difference :math:`f(x + \delta) - f(x)`, the backward one :math:`f(x) - f(x - \delta)` and half of their
sum, the central one, are compared with :math:`J \delta`. The offset :math:`\delta` is the difference of the points as
rounded, so that its own rounding is not an error.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._attempt import is_out_of_memory
from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.dynamics.spectra.checking.steps import Steps, allow_rounding, draw_pairs
from memzoo.errors import MemzooError

ROWS = 256
"""Rows on which the map is evaluated at one time."""
HIDDEN = 0.1
"""Norm of a part of the Jacobian that rounding must not be able to hide where the derivative is called verified."""
STILL = 4
"""Units in the last place of the largest output within which an output rests: its bits depend on its row of a batch."""
CURVED = 0.3
"""Share to which a smooth map brings the bend per step, if the step is shortened to a tenth; at a kink it stays."""
GROSS = 0.5
"""Relative gap at a longer step from which on the derivative says nothing about it. On a staircase the whole change is
unexplained, a gap of 1. A unit that switches on the way takes half of its bend from the central difference: 0.1 in a
residual network of the zoo, 0.3 in one of twelve units a layer, where rounding takes 1e-8."""
UNEXPLAINED = 0.2
"""Relative gap at the far step from which on a jump is looked for on the way."""
QUARTERED = 6
"""How often the interval in which a jump is looked for is divided by four."""
STEEP = 10
"""Times the mean slope of the map on the way: a steeper part is a jump. The steepest parts in the networks of the zoo
have 0.7 times that slope."""
AWAY = (0.1, 0.5)
"""Distances, relative to the scale of the point, at which outputs that rest are looked at once more."""
DATA_SCALE = (*AWAY, 1.0)
"""Distances, in the same unit, at which a constant map has the same value."""
SMOOTH = 0.01
"""Relative gap between differences at two steps where a map moves in proportion to them."""


class Differences(NamedTuple):
    """Differences of the map at one step; one row a direction and a point."""

    multiple: int
    central: Tensor
    bend: Float[Tensor, "directions batch"]
    """Norm of the forward minus the backward difference."""
    rest: Bool[Tensor, "batch dim"]
    """Outputs that did not move, in any direction."""

    def select(self, rows: Tensor) -> "Differences":
        """Return the same for some of the points."""
        return Differences(self.multiple, self.central[:, rows], self.bend[:, rows], self.rest[rows])


class Agreement(NamedTuple):
    """Where differences verify the Jacobian, and where they contradict it."""

    verified: Bool[Tensor, " batch"]
    contradicted: Bool[Tensor, " batch"]
    nearly: Bool[Tensor, " batch"]
    """Where the Jacobian predicts most of the change at some step."""


@dataclass(frozen=True)
class Probe:
    """Differences of a map at some points along some directions, beside what its Jacobian predicts."""

    f: Map
    points: Float[Tensor, "batch dim"]
    centre: Float[Tensor, "batch dim"]
    """Images of the points."""
    directions: Float[Tensor, "directions batch dim"]
    delta: Float[Tensor, "directions batch dim"]
    predicted: Float[Tensor, "directions batch dim"]
    scale: Float[Tensor, " batch"]
    noise: Float[Tensor, " batch"]
    """Allowance for the rounding of one value of f."""
    eps: float
    steps: Steps

    @staticmethod
    def take(
        f: Map, points: Tensor, directions: Tensor, push: Map, steps: Steps, scale: Tensor, eps: float
    ) -> "tuple[Probe, Differences]":
        """Predict what the steps change at some points, and take the coarse one."""
        delta = points + steps.least * scale[:, None] * directions - points
        offset = steps.coarse * delta
        # One call for all is quicker than one for each side.
        rows = torch.cat([points[None], points + offset, points - offset])
        images = evaluate_rows(f, rows.flatten(0, 1)).reshape(rows.shape)
        centre = images[0]
        noise = allow_rounding(points, centre, eps)
        probe = Probe(f, points, centre, directions, delta, push(delta), scale, noise, eps, steps)
        return probe, probe.compare(steps.coarse, *images[1:].chunk(2))

    def select(self, rows: Tensor) -> "Probe":
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

    def shorten(self, least: float) -> "Probe":
        """Return the same with another least step; the Jacobian is linear, the rounding of the offset is not."""
        delta = self.points + least * self.scale[:, None] * self.directions - self.points
        return replace(self, delta=delta, predicted=self.predicted * (least / self.steps.least))

    def step(self, multiple: int) -> Differences:
        """Evaluate the map on both sides of each point."""
        offset = multiple * self.delta
        sides = torch.stack([self.points + offset, self.points - offset])
        ahead, behind = evaluate_rows(self.f, sides.flatten(0, -2)).reshape(sides.shape)
        return self.compare(multiple, ahead, behind)

    def compare(self, multiple: int, ahead: Tensor, behind: Tensor) -> Differences:
        """Compare the images on both sides with those of the points."""
        rest = (self._rests(ahead) & self._rests(behind)).all(0)
        bend = torch.linalg.vector_norm(ahead - 2 * self.centre + behind, dim=2)
        return Differences(multiple, (ahead - behind) / 2, bend, rest)

    def allow(self, change: Tensor) -> Tensor:
        """Return the gap that is allowed beside a change of this size."""
        return self.steps.room * torch.linalg.vector_norm(change, dim=2) + self.noise

    def agree(self, coarse: Differences) -> Agreement:
        """Tell where one step or two steps verify the Jacobian, and where two steps contradict it."""
        verified = (self._agrees(coarse) & self._is_straight(coarse)).all(0)
        contradicted = torch.zeros_like(verified)
        nearly = verified.clone()
        rows = (~verified).nonzero().flatten()
        if len(rows):
            verdicts = self.select(rows)._agree_at_two_steps(coarse.select(rows))
            verified[rows], contradicted[rows], nearly[rows] = verdicts
        return Agreement(verified, contradicted, nearly)

    def _agree_at_two_steps(self, coarse: Differences) -> tuple[Tensor, Tensor, Tensor]:
        """Decide in the same way with a second, shorter step, and tell where one of the two is nearly right."""
        fine = self.step(self.steps.fine)
        ratio = coarse.multiple / fine.multiple
        smooth = fine.bend * ratio <= CURVED * coarse.bend
        straight = torch.stack([self._is_straight(step) for step in (fine, coarse)])
        near = torch.stack([self._explains_most(step) for step in (fine, coarse)])
        agrees = self._agrees(coarse) | (self._agrees(fine) & near[1])
        verified = (agrees & (straight.any(0) | smooth)).all(0)

        change = torch.linalg.vector_norm(ratio * fine.central - coarse.central, dim=2)
        steady = straight.all(0) & (change <= self.allow(coarse.central) + ratio * self.noise)
        contradicted = steady & self._differs(fine) & self._differs(coarse)
        return verified, contradicted.any(0), near.any(0).all(0)

    def find_hidden_kinks(self) -> Bool[Tensor, " batch"]:
        """Find the points at which the map has a kink in one of some more directions, at the shortest steps."""
        pairs = draw_pairs(self.points)
        longer = self._measure_pairs(pairs, self.steps.coarse)
        bent = ~self._is_straight(longer) & longer.bend.isfinite()
        if bent.any():  # the bend of a smooth map gets smaller with the step
            shorter = self._measure_pairs(pairs, self.steps.fine)
            ratio = longer.multiple / shorter.multiple
            bent &= ~self._is_straight(shorter) & (shorter.bend * ratio > CURVED * longer.bend)
        return bent.any(0)

    def _measure_pairs(self, pairs: Tensor, multiple: int) -> Differences:
        """Evaluate the map at a multiple of the shortest step along directions and their opposites."""
        sides = self.points + multiple * self.steps.shortened * self.scale[:, None] * pairs
        images = evaluate_rows(self.f, sides.flatten(0, 1)).reshape(sides.shape)
        return self.compare(multiple, *images.chunk(2))

    def find_jumps(self, width: float) -> Bool[Tensor, " batch"]:
        """Tell where the map jumps on the way to the far step, by a part that the derivative does not explain.

        A staircase beside a smooth map has no derivative of its own. The unexplained part counts if its norm, which a
        random direction shows divided by the root of the dimension, is not small beside 1. Kinks and curvature leave
        such a part too; it gets smaller with the interval in which it is looked for, a jump does not. Data far from
        the origin ask for a step that is small beside the ``width`` of their box.
        """
        multiple = self.steps.far * (width / self.scale).clamp(max=1)[:, None]
        offset = multiple * self.delta[0]
        predicted = multiple * self.predicted[0]
        change = evaluate_rows(self.f, self.points + offset) - self.centre
        gap = torch.linalg.vector_norm(change - predicted, dim=1)
        size = torch.maximum(torch.linalg.vector_norm(change, dim=1), torch.linalg.vector_norm(predicted, dim=1))
        length = torch.linalg.vector_norm(offset, dim=1) / self.points.shape[1] ** 0.5
        jumps = (gap > UNEXPLAINED * size) & (gap > UNEXPLAINED * length) & (gap > self.noise)
        rows = jumps.nonzero().flatten()
        if len(rows):
            least = torch.maximum(STEEP * 4.0**-QUARTERED * size, self.noise)[rows]
            jumps[rows] = self.select(rows)._find_largest_jump(offset[rows], change[rows], predicted[rows]) > least
        return jumps

    def _find_largest_jump(self, offset: Tensor, change: Tensor, predicted: Tensor) -> Float[Tensor, " batch"]:
        """Return how far the map moves unexplained in a small part of the way, one quarter of one quarter and so on."""
        rows = torch.arange(len(change), device=change.device)
        quarters = torch.arange(1, 4, dtype=change.dtype, device=change.device)[:, None, None]
        start = torch.zeros_like(change[:, :1])
        at_start = torch.zeros_like(change)
        at_end = change - predicted
        share = 1.0
        for _ in range(QUARTERED):
            share /= 4
            inner = start + share * quarters
            images = evaluate_rows(self.f, (self.points + inner * offset).flatten(0, 1)).reshape(3, *change.shape)
            ends = torch.cat([at_start[None], images - self.centre - inner * predicted, at_end[None]])
            largest = torch.linalg.vector_norm(ends.diff(dim=0), dim=2).argmax(0)
            start = start + share * largest[:, None]
            at_start = ends[largest, rows]
            at_end = ends[largest + 1, rows]
        return torch.linalg.vector_norm(at_end - at_start, dim=1)

    def find_rest(self, coarse: Differences) -> tuple[Tensor, Tensor]:
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
            rests[rows] = ~self.select(rows)._moves_elsewhere(coarse.rest[rows])
        return rests, rest.double().mean(1)

    def _moves_elsewhere(self, rest: Bool[Tensor, "batch dim"]) -> Bool[Tensor, " batch"]:
        """Tell where the outputs that ``rest`` move smoothly farther away: they are saturated, not rounded.

        Most of what changes on the way must also move under small steps, in proportion to them. If it rests again at
        the first distance at which it has changed, it has jumped, whatever the map does beyond.
        """
        found = torch.zeros(len(self.points), dtype=torch.bool, device=self.points.device)
        changed = found.clone()
        jumped = found.clone()
        for share in AWAY:
            points = self.points + share * self.scale[:, None] * self.directions[1]
            away = replace(self, points=points, centre=evaluate_rows(self.f, points))
            fine, coarse = away.step(self.steps.fine), away.step(self.steps.coarse)
            ratio = coarse.multiple / fine.multiple
            gap = torch.linalg.vector_norm(ratio * fine.central - coarse.central, dim=2)
            steady = (gap <= SMOOTH * torch.linalg.vector_norm(coarse.central, dim=2) + ratio * self.noise).all(0)
            change = (away.centre - self.centre) * rest
            whole = torch.linalg.vector_norm(change, dim=1)
            unmoved = torch.linalg.vector_norm(change * fine.rest, dim=1)
            changes = whole > self.noise
            rests_again = unmoved > GROSS * whole
            found |= steady & changes & ~rests_again
            jumped |= changes & rests_again & ~changed
            changed |= changes
        return found & ~jumped

    def find_constant(self, region: Float[Tensor, "all dim"]) -> Bool[Tensor, " batch"]:
        """Find the points around which the map is constant as far as the data reach.

        The outputs of a staircase rest under small steps too, but move at distances as large as those of the data. What
        is found holds for the directions tried and for the points of the ``region``, at which f has the same value.
        """
        images = evaluate_rows(self.f, region)
        constant = (self._rests(images[:, None])).all(2).all(0)
        rows = constant.nonzero().flatten()
        if len(rows):
            one = self.select(rows)
            offset = one.scale[:, None] * one.directions
            sides = torch.stack([one.points + sign * share * offset for share in DATA_SCALE for sign in (1, -1)])
            ends = evaluate_rows(self.f, sides.flatten(0, -2)).reshape(sides.shape)
            constant[rows] = one._rests(ends).all(3).all(1).all(0)
        return constant

    def find_fixed(self) -> Bool[Tensor, " batch"]:
        """Find the points that the map moves by no more than rounding."""
        return torch.linalg.vector_norm(self.centre - self.points, dim=1) <= self.noise

    def _rests(self, images: Tensor) -> Tensor:
        """Tell which outputs are those of the points, to within some units in the last place."""
        still = STILL * self.eps * self.centre.abs().amax(1, keepdim=True)
        return (images - self.centre).abs() <= still

    def _agrees(self, step: Differences) -> Tensor:
        """Tell where the central difference is what the Jacobian predicts, and rounding could not hide that it is not.

        A random direction shows about the Frobenius norm of a part of the Jacobian over the root of the dimension.
        """
        predicted = step.multiple * self.predicted
        gap = torch.linalg.vector_norm(step.central - predicted, dim=2)
        room = self.allow(predicted)
        length = step.multiple * torch.linalg.vector_norm(self.delta, dim=2)
        visible = torch.maximum(room - self.noise, HIDDEN * length / self.points.shape[1] ** 0.5)
        return (gap <= room) & (self.noise <= visible)

    def _explains_most(self, step: Differences) -> Tensor:
        """Tell where the Jacobian predicts most of the central difference."""
        predicted = step.multiple * self.predicted
        gap = torch.linalg.vector_norm(step.central - predicted, dim=2)
        size = torch.maximum(torch.linalg.vector_norm(step.central, dim=2), torch.linalg.vector_norm(predicted, dim=2))
        return gap <= GROSS * size + self.noise

    def _differs(self, step: Differences) -> Tensor:
        """Tell where the central difference is not what the Jacobian predicts, whatever the rounding."""
        predicted = step.multiple * self.predicted
        gap = torch.linalg.vector_norm(step.central - predicted, dim=2)
        return gap > torch.maximum(self.allow(predicted), self.allow(step.central))

    def _is_straight(self, step: Differences) -> Tensor:
        """Tell where the forward and the backward difference agree."""
        return step.bend <= 2 * self.allow(step.central)


def evaluate_rows(f: Map, points: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    """Evaluate a function of flat rows, some rows at a time; NaN where it raises an error."""
    return torch.cat([_evaluate_or_mark(f, rows) for rows in points.split(ROWS)])


def _evaluate_or_mark(f: Map, points: Tensor) -> Tensor:
    """Evaluate all rows in one call; if it fails, each half of them, down to single rows."""
    try:
        return f(points)
    except MemzooError:
        raise
    except Exception as error:  # a stranger's code may raise anything outside of the range of its data
        if is_out_of_memory(error):
            raise
        if len(points) == 1:
            warn_user(
                f"f cannot be evaluated beside the points ({type(error).__name__}: {error}), so that its derivative is "
                "not verified there; pass a map that has a value at all points near them."
            )
            return torch.full_like(points, torch.nan)
        return torch.cat([_evaluate_or_mark(f, half) for half in points.tensor_split(2)])
