"""Bound squared distances between points and fixed examples by one matrix product.

The expansion |a - b|^2 = |a|^2 + |b|^2 - 2 a.b is fast, because the products are one matrix multiplication, but it
cancels: at d = 784 in float32 it decides "closer than 1e-3" no better than chance. This module therefore returns lower
and upper bounds. Almost every pair is decided by a bound; the remaining pairs are subtracted in float64.

The error of a sum of d products is bounded by d * eps * (sum of absolute products), whatever the order of summation
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ELEMENTS = 2**22
"""Elements of a distance matrix or of float64 coordinates that are held at one time."""


def split_into_blocks(rows: Tensor, elements_per_row: int) -> tuple[Tensor, ...]:
    """Split ``rows`` so that each block needs at most ``BLOCK_ELEMENTS`` elements."""
    rows_per_block = max(1, BLOCK_ELEMENTS // elements_per_row)
    return rows.split(rows_per_block)


class DistanceBounds:
    """Bound the squared distances from arbitrary points to fixed examples.

    All squared distances are in units of ``unit ** 2``, so that neither the distances nor ``scale`` overflow.

    Args:
        examples: Flattened examples, one a row.
        scale: Largest distance that will be asked for, in the units of the examples.
        offset: Distance of each example from the subspace in which ``examples`` and points are coordinates. By
            Pythagoras it adds to every squared distance. ``None`` means zero.

    Memory: one centred copy of the examples, in float32 unless the examples are float64.
    """

    def __init__(
        self,
        examples: Float[Tensor, "n d"],
        scale: float = 0.0,
        *,
        offset: Float[Tensor, " n"] | None = None,
    ) -> None:
        self.examples: Tensor = examples
        self.offset: Tensor | None = offset
        self.centre: Tensor = self._mean()
        self.unit: float = (self._largest_radius() + scale) or 1.0
        self.centred: Tensor = self._centre_and_scale()
        self.squared_norms: Tensor = self.centred.square().sum(1)
        if offset is not None:
            self.squared_norms += (offset.double() / self.unit).square().to(self.centred.dtype)

        limits = torch.finfo(self.centred.dtype)
        dim = examples.shape[1]
        # Each sum has d terms and at most d roundings; centring has already moved each coordinate by one rounding.
        self.relative_error: float = 4 * (dim + 4) * limits.eps
        # Terms below the smallest normal number are lost whole.
        self.absolute_error: float = 32 * (dim + 4) * limits.tiny
        self.threshold_error: float = 4 * limits.eps

    def lower(
        self, points: Float[Tensor, "b d"], first_example: int = 0
    ) -> tuple[Float[Tensor, "b m"], Float[Tensor, " b"]]:
        """Compute lower bounds of the squared distances to the examples from ``first_example`` on.

        Returns:
            The bounds, infinite or NaN for points so far away that squares overflow (:meth:`lower_far`), and the
            squared norms of the centred points, which :meth:`upper` needs.
        """
        centred_points = ((points.double() - self.centre) / self.unit).to(self.centred.dtype)
        point_norms = centred_points.square().sum(1)
        # (1 - error) (|a|^2 + |b|^2) - 2 a.b - error <= |a - b|^2
        shrink = 1 - self.relative_error
        examples = self.centred[first_example:]
        with torch.autocast(points.device.type, enabled=False):
            bounds = torch.addmm(shrink * self.squared_norms[first_example:], centred_points, examples.mT, alpha=-2)
        bounds += (shrink * point_norms - self.absolute_error)[:, None]
        return bounds, point_norms

    def lower_far(self, points: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Compute a lower bound of the distances (not squared) from each point to all examples, sharp for far points.

        By the triangle inequality |a - b| >= |a - centre| - |b - centre|.
        """
        return (points.double() - self.centre).norm(dim=1) - self.unit

    def upper(
        self,
        lower: Float[Tensor, " pairs"],
        point_norms: Float[Tensor, " pairs"],
        example: Int[Tensor, " pairs"],
    ) -> Float[Tensor, " pairs"]:
        """Compute upper bounds for pairs of a point and an example from the lower bounds of the same pairs."""
        relative = self.relative_error * (point_norms + self.squared_norms[example])
        return lower + 2 * (relative + self.absolute_error)

    def certainly_farther(self, lower: Tensor, distance: float | Tensor) -> Tensor:
        """Mark the pairs that are farther apart than ``distance``, whatever the rounding."""
        distance = torch.as_tensor(distance, dtype=torch.float64, device=lower.device)
        threshold = (distance / self.unit).square() * (1 + self.threshold_error)
        return lower > threshold.to(lower.dtype)

    def exact(
        self,
        points: Float[Tensor, "b d"],
        point: Int[Tensor, " pairs"],
        example: Int[Tensor, " pairs"],
    ) -> Float[Tensor, " pairs"]:
        """Compute L2 distances of pairs by subtraction in float64."""
        distances: list[Tensor] = []
        dim = points.shape[1]
        for i, j in zip(split_into_blocks(point, dim), split_into_blocks(example, dim), strict=True):
            difference = points[i].double() - self.examples[j].double()
            distances.append(difference.norm(dim=1))
        within_subspace = torch.cat(distances)
        if self.offset is None:
            return within_subspace
        return torch.hypot(within_subspace, self.offset[example].double())

    def smallest(self) -> float:
        """Find the smallest distance between two examples, infinity for a single one; each pair is met once."""
        examples = self.examples
        smallest = torch.inf
        first = 0
        for block in split_into_blocks(examples, len(examples)):
            lower, _ = self.lower(block, first)
            # An example is compared with those after it alone.
            compared = torch.ones(len(block), len(block), dtype=torch.bool, device=examples.device).tril()
            lower[:, : len(block)].masked_fill_(compared, torch.inf)
            guess, nearest = lower.min(1)
            row = guess.isfinite().nonzero().flatten()  # the very last example has none after it
            smallest = min([smallest, *self.exact(block, row, nearest[row] + first).tolist()])
            row, column = (~self.certainly_farther(lower, smallest)).nonzero(as_tuple=True)
            smallest = min([smallest, *self.exact(block, row, column + first).tolist()])
            first += len(block)
        return smallest

    def _mean(self) -> Float[Tensor, " d"]:
        """Average the examples in float64, block by block."""
        sums = [block.double().sum(0) for block in split_into_blocks(self.examples, self.examples.shape[1])]
        return torch.stack(sums).sum(0) / len(self.examples)

    def _largest_radius(self) -> float:
        """Find the largest distance of an example from the centre."""
        blocks = split_into_blocks(self.examples, self.examples.shape[1])
        return max((block.double() - self.centre).norm(dim=1).max().item() for block in blocks)

    def _centre_and_scale(self) -> Float[Tensor, "n d"]:
        """Copy the examples, centred and in units of ``unit``."""
        dtype = torch.float64
        if self.examples.dtype != torch.float64 and float32_products_are_exact():
            dtype = torch.float32
        centred = torch.empty(self.examples.shape, dtype=dtype, device=self.examples.device)
        dim = self.examples.shape[1]
        for source, target in zip(split_into_blocks(self.examples, dim), split_into_blocks(centred, dim), strict=True):
            target.copy_((source.double() - self.centre) / self.unit)
        return centred


def float32_products_are_exact() -> bool:
    """Tell whether torch keeps float32 inputs of matrix products, rather than rounding them to TF32 or bfloat16."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # the precision was set through torch's newer interface, and torch refuses to mix the two
        return False
