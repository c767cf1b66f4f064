"""Distances between points and examples, decided exactly: a shortlist by bounds, then subtraction in float64."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo.dynamics.orbits.distance_bounds import Squares, blocks
from memzoo.errors import InvalidArgumentError


@torch.no_grad()
def close_pairs(
    points: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"], eps: float
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Indices ``(rows, columns)`` of all pairs with L2 distance below ``eps``, exact for the values given."""
    rows, columns, start = [], [], 0
    for row, column, slack in decided(Squares(examples.flatten(1), eps), points.flatten(1), eps):
        rows.append(row + start)
        columns.append(column)
        start += len(slack)
    return torch.cat(rows), torch.cat(columns)


def decided(
    squares: Squares, points: Float[Tensor, "batch d"], eps: float
) -> Iterator[tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], Float[Tensor, " b"]]]:
    r"""Rows and columns of all pairs closer than ``eps``, and the slack of each row, for one block of points at a time.

    The slack is a lower bound on :math:`\min_j |d_{ij} - \epsilon|`: a point that moves by less enters no ball around
    an example and leaves none.
    """
    rounding = 4 * (points.shape[1] + 8) * torch.finfo(torch.float64).eps  # of distances in float64, now and later
    for part in blocks(points, len(squares.examples)):
        low, norms = squares.lower(part)
        row, column = (~squares.exceed(low, eps)).nonzero(as_tuple=True)  # also where the bound is NaN
        high = squares.upper(low[row, column], norms[row], column)
        distance = high.double().clamp(min=0).sqrt() * squares.unit
        open_ = (~(high < (eps / squares.unit) ** 2 * (1 - squares.rounding))).nonzero().flatten()
        distance[open_] = squares.distance(part, row[open_], column[open_])
        low[row, column] = torch.inf
        gap = low.amin(1).double().sqrt() * squares.unit - eps
        gap = gap.scatter_reduce(0, row, (distance - eps).abs(), "amin")
        inside = distance < eps
        yield row[inside], column[inside], (1 - rounding) * gap - 2 * rounding * eps


@dataclass(frozen=True)
class Nearest:
    """The nearest example of each point."""

    index: Int[Tensor, " batch"]
    distance: Float[Tensor, " batch"]
    second: Float[Tensor, " batch"]
    """Distance to the second nearest; infinity if there is one example only."""


@torch.no_grad()
def nearest(points: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"]) -> Nearest:
    """Nearest and second nearest example of each point, L2, distances exact in float64.

    Example:
        >>> nearest(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])).index
        tensor([1])
    """
    check_same_shape(points, examples, "points and examples")
    squares, count = Squares(examples.flatten(1)), min(2, len(examples))
    distances, indices = [], []
    for part in blocks(points.flatten(1), len(examples)):
        low, _ = squares.lower(part)
        row = torch.arange(len(part), device=low.device)
        guess = [squares.distance(part, row, column) for column in low.topk(count, largest=False).indices.unbind(1)]
        row, column = (~squares.exceed(low, torch.stack(guess, 1).amax(1, keepdim=True))).nonzero(as_tuple=True)
        exact = torch.full(low.shape, torch.inf, dtype=torch.float64, device=low.device)
        exact[row, column] = squares.distance(part, row, column)
        distance, index = exact.topk(count, largest=False)
        distances.append(distance)
        indices.append(index)
    distance = torch.cat(distances)
    second = distance[:, 1] if count > 1 else torch.full_like(distance[:, 0], torch.inf)
    return Nearest(torch.cat(indices)[:, 0], distance[:, 0], second)


def distinct(examples: Float[Tensor, "n *shape"]) -> Float[Tensor, "m *shape"]:
    """The first of each set of equal examples."""
    rows = examples.flatten(1)
    first: dict[bytes, int] = {}
    # -0.0 becomes 0.0
    parts = ((part + 0.0).contiguous().cpu().view(torch.uint8).numpy() for part in blocks(rows, rows.shape[1]))
    for index, row in enumerate(chain.from_iterable(parts)):
        first.setdefault(row.tobytes(), index)
    return examples if len(first) == len(examples) else examples[list(first.values())]


@torch.no_grad()
def default_eps(examples: Float[Tensor, "n *shape"]) -> float:
    r"""A tenth of the smallest L2 distance between distinct examples; :math:`0.05 \|x\|` for a single one.

    Balls of this radius around different examples are far from touching, so a point within ``eps`` of an example
    belongs to that example alone. Exact duplicates count once, with a warning. Time :math:`O(n^2 d)`.

    Example:
        >>> default_eps(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        0.5
    """
    check_batch(examples, "examples")
    flat = distinct(examples).flatten(1)
    if len(flat) < len(examples):
        warnings.warn(
            f"{len(examples) - len(flat)} of {len(examples)} examples are exact duplicates of others; eps is derived "
            "from the distinct ones.",
            stacklevel=2,
        )
    if len(flat) == 1:
        eps = 0.05 * flat[0].double().norm().item()
        if eps == 0:
            raise InvalidArgumentError(
                "eps cannot be derived from a single example that is zero everywhere; pass eps=."
            )
        return eps
    return 0.1 * _smallest_distance(flat)


def _smallest_distance(rows: Tensor) -> float:
    """Over all pairs of distinct rows."""
    squares, smallest, start = Squares(rows), torch.inf, 0
    for part in blocks(rows, len(rows)):
        low, _ = squares.lower(part, start)
        met = torch.ones(len(part), len(part), dtype=torch.bool, device=rows.device).tril()
        low[:, : len(part)].masked_fill_(met, torch.inf)
        guess, column = low.min(1)
        row = guess.isfinite().nonzero().flatten()  # the last row of all has met every other
        smallest = min([smallest, *squares.distance(part, row, column[row] + start).tolist()])
        row, column = (~squares.exceed(low, smallest)).nonzero(as_tuple=True)
        smallest = min([smallest, *squares.distance(part, row, column + start).tolist()])
        start += len(part)
    return smallest
