"""Squared distances by matrix product, between proven bounds.

The usual |a|^2 + |b|^2 - 2ab cancels: at d = 784 in float32 it decides "closer than 1e-3" by chance. With a bound on
its error it still tells nearly all pairs apart, and the few others are decided by subtracting in float64.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 2**22  # numbers in work at one time: entries of the distance matrix, coordinates in float64


def blocks(rows: Tensor, width: int) -> tuple[Tensor, ...]:
    """``rows`` in blocks that make ``BLOCK`` numbers at ``width`` numbers a row."""
    return rows.split(max(1, BLOCK // width))


class Squares:
    """Squared distances from any points to fixed examples, in units of ``unit`` squared.

    Memory: one centred copy of the examples, in float32 unless they are float64.

    Args:
        examples: One flattened example a row.
        scale: Distances that matter, so that squares near it leave no number range.
        offset: Distance of each example from the subspace that the coordinates span: adds to the distance from every
            point, by Pythagoras. None for zero.
    """

    examples: Tensor
    offset: Tensor | None

    def __init__(
        self, examples: Float[Tensor, "n d"], scale: float = 0.0, *, offset: Float[Tensor, " n"] | None = None
    ) -> None:
        self.examples, self.offset = examples, offset
        dim = examples.shape[1]
        self.centre: Tensor = torch.stack([part.double().sum(0) for part in blocks(examples, dim)]).sum(0) / len(
            examples
        )
        radius = max((part.double() - self.centre).norm(dim=1).max().item() for part in blocks(examples, dim))
        self.unit: float = (radius + scale) or 1.0
        kind = torch.float32 if examples.dtype != torch.float64 and _full_products() else torch.float64
        self.centred: Tensor = torch.empty(examples.shape, dtype=kind, device=examples.device)
        for part, place in zip(blocks(examples, dim), blocks(self.centred, dim), strict=True):
            place.copy_((part.double() - self.centre) / self.unit)
        self.norms: Tensor = self.centred.square().sum(1)
        if offset is not None:
            self.norms += (offset.double() / self.unit).square().to(kind)
        # Every sum has d terms (any order: d roundings), and centring moved each coordinate by one more.
        self.relative: float = 4 * (dim + 4) * torch.finfo(kind).eps
        self.absolute: float = 32 * (dim + 4) * torch.finfo(kind).tiny  # what underflows
        self.rounding: float = 4 * torch.finfo(kind).eps  # of a threshold, relative

    def lower(self, points: Float[Tensor, "b d"], first: int = 0) -> tuple[Float[Tensor, "b m"], Float[Tensor, " b"]]:
        """Lower bounds of squares to the examples from the ``first`` on, NaN on overflow; squared norms of points."""
        near = ((points.double() - self.centre) / self.unit).to(self.centred.dtype)
        norms, keep = near.square().sum(1), 1 - self.relative
        with torch.autocast(points.device.type, enabled=False):
            products = torch.addmm(keep * self.norms[first:], near, self.centred[first:].mT, alpha=-2)
        return products.add_((keep * norms - self.absolute)[:, None]), norms

    def upper(self, lower: Tensor, norms: Tensor, column: Int[Tensor, " p"]) -> Tensor:
        """Upper bounds of the squares of pairs, from their lower bounds and the squared norms of their points."""
        return lower + 2 * (self.relative * (norms + self.norms[column]) + self.absolute)

    def exceed(self, lower: Tensor, distance: float | Tensor) -> Tensor:
        """Pairs that are farther apart than ``distance`` for certain."""
        limit = (torch.as_tensor(distance, dtype=torch.float64, device=lower.device) / self.unit).square()
        return lower > (limit * (1 + self.rounding)).to(lower.dtype)

    def distance(self, points: Tensor, row: Int[Tensor, " p"], column: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
        """L2 distances of pairs, exact up to rounding in float64."""
        pairs = zip(blocks(row, points.shape[1]), blocks(column, points.shape[1]), strict=True)
        gaps = torch.cat([(points[i].double() - self.examples[j].double()).norm(dim=1) for i, j in pairs])
        return gaps if self.offset is None else torch.hypot(gaps, self.offset[column].double())


def _full_products() -> bool:
    """Float32 matrix products round their inputs no further, to TF32 or bfloat16."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set through the newer interface, which torch forbids to mix with this one
        return False
