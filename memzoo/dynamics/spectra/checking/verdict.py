"""Give a verdict on products with a Jacobian: are they those of the map?

Automatic differentiation knows the operations that a program recorded for it, which need not be those of the map:
``no_grad`` hides a layer, a straight-through estimator invents a slope, a rule for a derivative may be wrong. At each
point the products along two directions are compared with differences of the map.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.checking.probe import Differences, Probe, evaluate_rows
from memzoo.dynamics.spectra.checking.steps import (
    BETWEEN,
    Steps,
    Surroundings,
    allow_rounding,
    choose_scale,
    choose_steps,
    draw_directions,
)

Derivative = Literal["verified", "one-sided", "resting", "unverified", "contradicted"]
FEW_DIMENSIONS = 64
"""Dimension up to which a few directions more may find a kink that two directions miss, at little cost."""
ALONE = 1e5
"""Distance from a fixed point without others, in units of the rounding of f, to which steps are relative there."""


class Check(NamedTuple):
    """What the check found, one entry a point."""

    words: list[Derivative]
    resting: Float[Tensor, " batch"]
    """Share of the outputs that no step moved."""
    reach: Float[Tensor, " batch"]
    """Length of the step on both sides of the point that shows whether it is at a kink."""

    def summarise(self, count: int) -> "Check":
        """Return the least certain of the words for all of ``count`` points that share one Jacobian."""
        order: list[Derivative] = ["contradicted", "unverified", "resting", "one-sided", "verified"]
        word = min(self.words, key=order.index)
        return Check([word] * count, self.resting.mean().expand(count), self.reach.amin().expand(count))

    def mark(self, *words: Derivative) -> Bool[Tensor, " batch"]:
        """Mark the points of which one of these words is said."""
        return torch.tensor([word in words for word in self.words], device=self.reach.device)

    def adopt(self, other: "Check", rows: Bool[Tensor, " batch"]) -> "Check":
        """Return the same with what another check found in the rows that are marked, where it verifies them."""
        taken = rows & ~other.mark("unverified", "contradicted")
        triples = zip(self.words, other.words, taken.tolist(), strict=True)
        words: list[Derivative] = [new if marked else old for old, new, marked in triples]
        resting = torch.where(taken, other.resting, self.resting)
        return Check(words, resting, torch.where(taken, other.reach, self.reach))

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
        all_points: Float[Tensor, "all dim"] | None = None,
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
            all_points: All points that are measured, ``points`` among them; ``points`` alone when left out.

        Returns:
            What was found; unverified where f cannot be evaluated beside the point.

            Cost: 6 evaluations of f (8 to 32 more in few dimensions) and 2 products a point; 18 evaluations more where
            the far step is not explained, 22 where outputs rest; at a kink some 20 evaluations and 3 linearisations
            more; one evaluation at all points where fixed points are not verified, or where no output moves.
        """
        all_points = points if all_points is None else all_points
        usual = self.surroundings.scale
        scale = choose_scale(points, points if usual else evaluate_rows(self.f, points), usual)
        steps = choose_steps(self.eps)
        found = self._check_with(steps, scale, points, others, push, all_points if staircase else None)
        rows = found.mark("unverified", "contradicted").nonzero().flatten()
        if not len(rows):
            return found
        distance = torch.full_like(scale, torch.inf)
        distance[rows] = self._find_next_fixed(points[rows], all_points)
        shorter = torch.minimum(distance, scale)
        rows = (shorter < scale).nonzero().flatten()
        if len(rows):
            directions = draw_directions(points, others)[:, rows]
            rows = rows[self._changes_slope(points[rows], directions, scale[rows], shorter[rows])]
        if not len(rows):
            return found
        near = torch.zeros_like(scale, dtype=torch.bool).index_fill(0, rows, True)
        again = self._check_with(BETWEEN, shorter, points, others, push, all_points if staircase else None)
        return found.adopt(again, near)

    def _changes_slope(self, points: Tensor, directions: Tensor, long: Tensor, short: Tensor) -> Bool[Tensor, " batch"]:
        """Tell where the map itself has another slope at the shorter of two scales, whatever the rounding.

        Otherwise the shorter steps would excuse a wrong derivative, only because they show fewer of its digits.
        """
        slopes = []
        for steps, scale in ((choose_steps(self.eps), long), (BETWEEN, short)):
            length = steps.coarse * steps.least * scale[:, None]
            offset = points + length * directions - points
            ahead, behind = (evaluate_rows(self.f, rows.flatten(0, 1)) for rows in (points + offset, points - offset))
            slopes.append((ahead - behind).reshape(offset.shape) / (2 * length))
        gap = torch.linalg.vector_norm(slopes[0] - slopes[1], dim=2)
        noise = allow_rounding(points, points, self.eps) / (BETWEEN.coarse * BETWEEN.least * short)
        room = BETWEEN.room * torch.linalg.vector_norm(slopes[1], dim=2) + 2 * noise
        return (gap > room).any(0)

    def _find_next_fixed(self, points: Tensor, all_points: Tensor) -> Float[Tensor, " batch"]:
        """Return the distance of each point from the nearest other fixed point; infinity if it is not fixed itself.

        A fixed point that stands alone may be one of many: it gets the least distance at which rounding hides little.
        """
        distance = torch.full_like(points[:, 0], torch.inf)
        rows = self._find_fixed(points).nonzero().flatten()
        if len(rows):
            fixed = all_points[self._find_fixed(all_points)]
            apart = torch.cdist(points[rows], fixed, compute_mode="donot_use_mm_for_euclid_dist")
            noise = allow_rounding(points[rows], points[rows], self.eps)
            nearest = apart.masked_fill(apart <= noise[:, None], torch.inf).amin(1)
            distance[rows] = torch.where(nearest.isfinite(), nearest, ALONE * noise)
        return distance

    def _find_fixed(self, points: Tensor) -> Bool[Tensor, " batch"]:
        """Find the points that the map moves by no more than rounding."""
        images = evaluate_rows(self.f, points)
        return torch.linalg.vector_norm(images - points, dim=1) <= allow_rounding(points, images, self.eps)

    def _check_with(
        self, steps: Steps, scale: Tensor, points: Tensor, others: Tensor, push: Map, region: Tensor | None
    ) -> Check:
        """Check the products with steps that are relative to ``scale``, one length a point.

        Outputs that rest are looked for unless the ``region`` is None.
        """
        probe, coarse = Probe.take(self.f, points, draw_directions(points, others), push, steps, scale, self.eps)
        agreement = probe.agree(coarse)
        verified = agreement.verified
        contradicted = agreement.contradicted
        one_sided = torch.zeros_like(verified)
        rows = (~verified).nonzero().flatten()
        if len(rows) and steps.shortened < steps.least:
            shortened = probe.select(rows).shorten(steps.shortened)
            shorter = shortened.agree(shortened.step(steps.coarse))
            # A map of a smaller scale is nearly right at the longer steps; a staircase is not.
            verified[rows] = shorter.verified & agreement.nearly[rows]
            # What shorter steps verify is the derivative, however the map goes on.
            contradicted[rows] = (contradicted[rows] | shorter.contradicted) & ~shorter.verified
            rows = rows[~shorter.verified]
        rows = rows[~contradicted[rows] & coarse.bend[:, rows].isfinite().all(0)]
        if points.shape[1] <= FEW_DIMENSIONS:
            bent = verified & probe.find_hidden_kinks()
            verified &= ~bent
            rows = torch.cat([rows, bent.nonzero().flatten()])
        if len(rows):
            one_sided[rows], contradicted[rows] = self._check_beside(probe.select(rows))
        resting = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        rests = torch.zeros_like(verified)
        if region is not None:
            # At a fixed point the derivative decides about attraction, however small the region in which it holds.
            width = self.surroundings.width(points.shape[1])
            jumps = probe.find_jumps(width)
            verified &= ~jumps | probe.find_fixed()
            rows = ((verified | one_sided) & coarse.rest.any(1)).nonzero().flatten()
            if len(rows):
                rests[rows], resting[rows] = _look_for_rest(probe.select(rows), coarse.select(rows), region)
            # The step of a staircase on which a fixed point lies is flat, whatever the steps beside it are.
            flat = verified & jumps & coarse.rest.all(1)
            rests |= flat
            resting[flat] = 1.0
        flags: dict[Derivative, Tensor] = {
            "verified": verified,
            "one-sided": one_sided,
            "resting": rests,
            "contradicted": contradicted,
        }
        return Check(_name_rows(flags), resting, steps.coarse * steps.least * scale)

    def _check_beside(self, probe: Probe) -> tuple[Tensor, Tensor]:
        """Tell where the derivative is verified, or contradicted, at two points beside each point.

        The products at the point itself must be those that ``form_push`` gives there.
        """
        own = self.form_push(probe.points)(probe.delta)
        gap = torch.linalg.vector_norm(own - probe.predicted, dim=2)
        sound = (gap <= probe.allow(own)).all(0)
        contradicted = torch.zeros_like(sound)
        generator = torch.Generator().manual_seed(1)
        steps = probe.steps._replace(least=probe.steps.beside)
        for _ in range(2):
            moved = self.surroundings.move_inside(probe.points, probe.steps.move * probe.scale, generator)
            has_value = evaluate_rows(self.f, moved).isfinite().all(1, keepdim=True)
            moved = torch.where(has_value, moved, probe.points)  # where nothing is verified, because of the kink
            push = self.form_push(moved)
            beside, coarse = Probe.take(self.f, moved, probe.directions, push, steps, probe.scale, self.eps)
            found = beside.agree(coarse)
            sound &= found.verified
            contradicted |= found.contradicted
        return sound & ~contradicted, contradicted


def _look_for_rest(probe: Probe, coarse: Differences, region: Tensor) -> tuple[Tensor, Tensor]:
    """Find the points whose outputs rest although they need not, and the share of the outputs that rest."""
    rests, share = probe.find_rest(coarse)
    rows = rests.nonzero().flatten()
    if len(rows):
        rests[rows] = ~probe.select(rows).find_constant(region)
    return rests, share


def _name_rows(flags: dict[Derivative, Tensor]) -> list[Derivative]:
    """Return the last of the words that is marked for each row."""
    words: list[Derivative] = ["unverified"] * len(flags["verified"])
    for word, marks in flags.items():
        for row in marks.nonzero().flatten().tolist():
            words[row] = word
    return words
