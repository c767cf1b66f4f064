"""Distances between points and examples, decided exactly.

The usual |a|^2 + |b|^2 - 2ab cancels: at d = 784 in float32 it decides "closer than 1e-3" by chance. Here it only makes
a shortlist, with a bound on its error, and every pair on the list is decided by subtracting in float64.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape

BLOCK = 2**24  # entries of the distance matrix in work at one time


def close_pairs(
    points: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"], eps: float
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Indices ``(rows, columns)`` of all pairs with L2 distance below ``eps``, exact for the values given."""
    a, b = points.flatten(1), examples.flatten(1)
    kind = torch.float64 if a.dtype == torch.float64 else torch.float32
    centre = b.double().mean(0)
    near_a, near_b = a.double() - centre, b.double() - centre
    unit = torch.maximum(near_a.abs().max(), near_b.abs().max()).clamp(min=1e-300)  # squares must not leave the range
    rows, columns = [], []
    for start, squares, slack in _squares((near_a / unit).to(kind), (near_b / unit).to(kind)):
        row, column = (~(squares - slack >= (eps / unit) ** 2)).nonzero(as_tuple=True)
        rows.append(row + start)
        columns.append(column)
    row, column = torch.cat(rows), torch.cat(columns)
    close = torch.cat([_subtracted(a, b, i, j) < eps for i, j in _blocks(row, column, a.shape[1])])
    return row[close], column[close]


def _squares(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Squared distances by matrix product, in blocks of rows, each entry with a bound on its rounding error."""
    squared_a, squared_b = a.square().sum(1), b.square().sum(1)
    # Every sum has d terms (any order: d roundings), and centring moved each coordinate by one more.
    relative = 4 * (a.shape[1] + 4) * torch.finfo(a.dtype).eps
    size = max(1, BLOCK // len(b))
    for start in range(0, len(a), size):
        total = squared_a[start : start + size, None] + squared_b
        yield start, total - 2 * (a[start : start + size] @ b.mT), relative * total


def _blocks(row: Tensor, column: Tensor, dim: int) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, BLOCK // dim)
    return zip(row.split(size), column.split(size), strict=True)


def _subtracted(a: Tensor, b: Tensor, row: Tensor, column: Tensor) -> Tensor:
    return (a[row].double() - b[column].double()).norm(dim=1)


@dataclass(frozen=True)
class Nearest:
    """The nearest example of each point."""

    index: Int[Tensor, " batch"]
    distance: Float[Tensor, " batch"]
    second: Float[Tensor, " batch"]
    """Distance to the second nearest; infinity if there is one example only."""


def nearest(points: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"]) -> Nearest:
    """Nearest and second nearest example of each point, L2, distances exact in float64.

    Example:
        >>> nearest(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])).index
        tensor([1])
    """
    check_same_shape(points, examples, "points and examples")
    a, b = points.flatten(1).double(), examples.flatten(1).double()
    centre = b.mean(0)
    found = [
        squares.topk(min(2, len(b)), dim=1, largest=False).indices for _, squares, _ in _squares(a - centre, b - centre)
    ]
    index = torch.cat(found)
    row = torch.arange(len(a), device=a.device)
    distance = torch.stack([_subtracted(a, b, row, column) for column in index.unbind(1)], 1)
    distance, order = distance.sort(1)
    index = index.gather(1, order)
    second = distance[:, 1] if len(b) > 1 else torch.full_like(distance[:, 0], torch.inf)
    return Nearest(index[:, 0], distance[:, 0], second)


def default_eps(examples: Float[Tensor, "n *shape"]) -> float:
    r"""A tenth of the smallest L2 distance between distinct examples; :math:`0.05 \|x\|` for a single one.

    Balls of this radius around different examples are far from touching, so a point within ``eps`` of an example
    belongs to that example alone. Exact duplicates count once, with a warning.

    Example:
        >>> default_eps(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        0.5
    """
    check_batch(examples, "examples")
    flat = examples.flatten(1).double().unique(dim=0)
    if len(flat) < len(examples):
        warnings.warn(
            f"{len(examples) - len(flat)} of {len(examples)} examples are exact duplicates of others; eps is derived "
            "from the distinct ones.",
            stacklevel=2,
        )
    if len(flat) == 1:
        eps = 0.05 * flat[0].norm().item()
        if eps == 0:
            raise ValueError("eps cannot be derived from a single example that is zero everywhere; pass eps=.")
        return eps
    centred = flat - flat.mean(0)
    smallest = torch.inf
    for start, squares, _ in _squares(centred, centred):
        row = torch.arange(len(squares), device=flat.device)
        squares[row, row + start] = torch.inf
        smallest = min(smallest, _subtracted(flat, flat, row + start, squares.argmin(1)).min().item())
    return 0.1 * smallest
