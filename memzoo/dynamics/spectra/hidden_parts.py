r"""Find parts of a derivative that differences in single precision cannot see along random directions.

A layer of rank one that is hidden from autograd changes a random direction by its norm over the root of the dimension,
which is less than differences in float32 resolve. Two ways lead to a direction that shows it:

1. The bare operations of the map have a derivative of their own. Where it is not that of autograd, the gap
   :math:`w = (J - J_{bare})^T u` is a direction in which the two differ most, and a difference of the map along it
   tells which is right.
2. Where there are no bare operations, the power method (Golub and Van Loan, Matrix Computations, section 7.3) turns a
   random direction in three ways: by what differences leave unexplained, :math:`D - J`, towards a part that is hidden;
   by J and by D towards their leading eigenvectors. If nothing is unexplained along these, the leading eigenvalue of J
   is one of D, and that of D is one of J, so that both have one radius.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo.dynamics.spectra.checking import Check, DerivativeCheck, allow_rounding
from memzoo.dynamics.spectra.derivatives import map_rows, pull_back
from memzoo.dynamics.spectra.flat_map import FlatMap
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.proof import rows_agree

ROWS = 256
"""Rows on which the map is evaluated at one time."""
STEPS = (5e-4, 4e-3)
"""Steps relative to the norm of the point: the short one meets few kinks, the long one has little rounding."""
NEAR_ZERO = 1e-3
"""Share of the usual norm of the points below which the norm of a point is no scale."""
ROUNDING = 8
"""Units in the last place, relative to |x| + |f(x)|, that one value of f is off by."""
CHAINS = 3
"""Directions that are turned at each point."""
ITERATIONS = 12
"""Steps of the power method; a hidden part of norm 0.4 in 3072 dimensions outgrows noise of 5 % in three."""
UNEXPLAINED = 0.005
"""Share of a difference that need not be explained."""
DOUBT = 4
"""Times the disagreement between differences themselves, up to which they say nothing against a derivative."""


class _Difference:
    """A central difference along one direction a point, per unit of length.

    Args:
        f: Map of a batch of flat rows.
        points: Points (B, dim).
        directions: Unit directions (B, dim).
        lengths: Lengths of the steps (B,).
    """

    def __init__(self, f: Map, points: Tensor, directions: Tensor, lengths: Tensor) -> None:
        step = lengths[:, None]
        offset = points + step * directions - points
        # The offset as rounded leads a little to the side, by no more than rounding.
        rows = torch.cat([points + times * offset for times in (1, -1, 2, -2, 0)])
        images = torch.cat([f(part) for part in rows.split(ROWS)])
        near_ahead, near_behind, far_ahead, far_behind, centre = images.chunk(5)
        near = (near_ahead - near_behind) / (2 * step)
        far = (far_ahead - far_behind) / (4 * step)
        near_bend = (near_ahead - 2 * centre + near_behind) / step
        far_bend = (far_ahead - 2 * centre + far_behind) / (2 * step)
        self.slope: Tensor = near
        """Slope of the map along each direction."""
        norms = [torch.linalg.vector_norm(part, dim=1) for part in (far - near, far_bend - 2 * near_bend)]
        self.doubt: Tensor = norms[0] + norms[1]
        """Disagreement between two steps; the bend of a smooth map grows with the step, that at a kink does not."""


@dataclass(frozen=True)
class SinglePrecisionCheck(DerivativeCheck):
    """Compare products with the Jacobians of a map in single precision with its differences.

    Args:
        jacobians: Way to the Jacobians whose products are checked.
    """

    jacobians: Jacobians

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
        """Check as in float64, and then look for parts of the map that the products lack, wherever they are verified.

        Returns:
            Cost: two reverse products and two evaluations more, 5 evaluations and a linearisation where they differ;
            without bare operations 360 evaluations and 36 products.
        """
        found = super().check(points, others, push, staircase=staircase, all_points=all_points)
        sound = ~found.mark("unverified", "contradicted")
        if not sound.any():
            return found
        known, hidden = self._compare_with_bare_operations(points, push)
        smooth = found.mark("verified") & ~known
        if smooth.any():
            hidden |= smooth & self._leaves_part_unexplained(points, push)
        pairs = zip(found.words, (sound & hidden).tolist(), strict=True)
        return found._replace(words=["contradicted" if marked else word for word, marked in pairs])

    def _compare_with_bare_operations(self, points: Tensor, push: Map) -> tuple[Tensor, Tensor]:
        """Compare the derivative with that of the bare operations.

        Returns:
            Where the bare operations are known to be those of the map, and where differences speak for them.
        """
        known = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        hidden = known.clone()
        bare = self._bare
        if bare is None:
            return known, hidden
        with Attempt(RuntimeError):  # an operation may have no derivative, or no batching rule
            known = self._has_same_values(bare.differentiated, points)
            u = _draw(points)
            ours, theirs = (pull_back(way.differentiated, points, u) for way in (self.jacobians, bare))
            gap = ours - theirs
            rows = known & ~rows_agree(ours, theirs, torch.linalg.vector_norm(theirs, dim=1), self.eps)
            rows &= gap.isfinite().all(1)
            if rows.any():
                directions = _normalise(torch.where(rows[:, None], gap, u))
                slopes = [product(directions[None])[0] for product in (push, bare.form_push(points))]
                # The shortest step at which rounding cannot hide which of the two is right meets the fewest kinks.
                apart = torch.linalg.vector_norm(slopes[0] - slopes[1], dim=1)
                lengths = torch.minimum(8 * self._estimate_rounding(points) / apart, STEPS[-1] * self._scale(points))
                slope = _Difference(self.f, points, directions, lengths).slope
                distances = [torch.linalg.vector_norm(slope - one, dim=1) for one in slopes]
                hidden = rows & (distances[1] < distances[0])
        return known, hidden

    @cached_property
    def _bare(self) -> Jacobians | None:
        """Return the way through the bare operations; None if there is no trace."""
        if not isinstance(self.jacobians.differentiated, FlatMap):
            return self.jacobians
        way = next(self.jacobians.list_alternatives(), None)
        return None if way is None or way.method == "differences" else way

    def _has_same_values(self, bare: Map, points: Tensor) -> Bool[Tensor, " batch"]:
        """Tell where a function of flat rows has the values of the map, at the points and near them."""
        moved = points + STEPS[-1] * self._scale(points)[:, None] * _normalise(_draw(points))
        rows = torch.cat([points, moved])
        true = self.f(rows)
        gap = torch.linalg.vector_norm(map_rows(bare)(rows) - true, dim=1)
        return (gap <= allow_rounding(rows, true, self.eps)).reshape(2, -1).all(0)

    def _leaves_part_unexplained(self, points: Tensor, push: Map) -> Bool[Tensor, " batch"]:
        """Tell where the map changes along some direction as the products do not say.

        Only what differences agree on among themselves counts; near kinks they agree on little.
        """
        found = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        directions = _normalise(_draw(points)).expand(CHAINS, -1, -1)
        rounding = self._estimate_rounding(points)
        many = points.repeat(CHAINS, 1)
        for _ in range(ITERATIONS):
            predicted = push(directions)
            slope = predicted
            for step in STEPS:
                lengths = step * self._scale(points)
                difference = _Difference(self.f, many, directions.flatten(0, 1), lengths.repeat(CHAINS))
                slope = difference.slope.reshape(directions.shape)
                room = UNEXPLAINED * torch.linalg.vector_norm(slope, dim=2)
                room = room + DOUBT * (difference.doubt.reshape(CHAINS, -1) + rounding / lengths)
                found |= (torch.linalg.vector_norm(slope - predicted, dim=2) > room).any(0)
            following = torch.stack([slope[0] - predicted[0], predicted[1], slope[2]])
            directions = torch.where((following == 0).all(2, keepdim=True), directions, _normalise(following))
        return found

    def _estimate_rounding(self, points: Tensor) -> Float[Tensor, " batch"]:
        """Estimate the rounding of one value of the map."""
        sizes = [torch.linalg.vector_norm(rows, dim=1) for rows in (points, self.f(points))]
        return ROUNDING * self.eps * (sizes[0] + sizes[1])

    def _scale(self, points: Tensor) -> Float[Tensor, " batch"]:
        """Return the length to which the steps at each point are relative."""
        norms = torch.linalg.vector_norm(points, dim=1)
        usual = self.surroundings.scale or 1.0
        return torch.where(norms >= NEAR_ZERO * usual, norms, usual)


def _draw(points: Tensor) -> Tensor:
    """Draw a random vector for each point."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(points.shape, generator=generator, dtype=torch.float64).to(points)


def _normalise(vectors: Tensor) -> Tensor:
    """Give vectors the length 1."""
    return torch.nn.functional.normalize(vectors, dim=-1, eps=torch.finfo(vectors.dtype).tiny)
