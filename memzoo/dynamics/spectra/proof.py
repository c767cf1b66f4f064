"""Check a Jacobian against the map itself by one reverse product with a random vector at each point.

Freivalds (Probabilistic machines can use less running time, 1977) checks a matrix product in the same way: a wrong
matrix passes with probability zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.derivatives import pull_back
from memzoo.dynamics.spectra.factors import Factors


@dataclass(frozen=True)
class Witness:
    """Random cotangents u and the products J^T u, computed by the map itself, one row a point."""

    cotangents: Float[Tensor, "batch dim"]
    images: Float[Tensor, "batch dim"]

    def confirms_factors(self, factors: Factors, eps: float) -> bool:
        """Tell whether the factors give the same products, wherever they are finite."""
        images = factors.pull(self.cotangents[:, :, None]).squeeze(-1)
        size = torch.linalg.matrix_norm(factors.left)
        for factor in (factors.right, factors.outer_left, factors.outer_right):
            size = size if factor is None else size * torch.linalg.matrix_norm(factor)
        size = size * self.cotangents.shape[1] ** 0.5  # length of a random cotangent
        return bool((~factors.finite | rows_agree(images, self.images, size, eps)).all())

    def confirms_product(self, pull: Map, eps: float) -> bool:
        """Tell whether ``pull`` computes the same products."""
        images = pull(self.cotangents[None])[0]
        return bool(rows_agree(images, self.images, self.images.norm(dim=1), eps).all())


def draw_witness(f: Map, points: Tensor, pull: Callable[[Map, Tensor, Tensor], Tensor] = pull_back) -> Witness:
    """Draw random cotangents and multiply them by the transposed Jacobians of a function of flat rows.

    Args:
        f: Function.
        points: Points.
        pull: Computes the products.
    """
    generator = torch.Generator().manual_seed(0)
    cotangents = torch.randn(*points.shape, generator=generator, dtype=torch.float64).to(points)
    return Witness(cotangents, pull(f, points.detach(), cotangents))


def rows_agree(ours: Tensor, true: Tensor, size: Tensor, eps: float) -> Tensor:
    """Mark the rows that agree up to the rounding of numbers of this size; rows where f is not finite pass."""
    tolerance = eps**0.55 * true.norm(dim=1) + 1e3 * eps * size
    return ~true.isfinite().all(1) | ((ours - true).norm(dim=1) <= tolerance)
