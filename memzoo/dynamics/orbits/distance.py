"""Decide exactly how far points are from examples.

Bounds by one matrix product leave a few pairs open (:mod:`memzoo.dynamics.orbits.distance_bounds`). These pairs are
subtracted in float64, so that every answer is that of a subtraction of all pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo._user_warning import warn_user
from memzoo.dynamics.orbits.distance_bounds import DistanceBounds, split_into_blocks
from memzoo.dynamics.orbits.duplicates import select_distinct
from memzoo.errors import InvalidArgumentError


@torch.no_grad()
def close_pairs(
    points: Float[Tensor, "batch *shape"],
    examples: Float[Tensor, "n *shape"],
    eps: float | Float[Tensor, " n"],
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Find the indices ``(point, example)`` of all pairs with L2 distance below ``eps``, exact for the given values.

    Args:
        points: Points; one that is not finite is close to no example.
        examples: Examples.
        eps: One radius, or one for each example.
    """
    radii = spread_eps(eps, examples)
    bounds = DistanceBounds(examples.flatten(1), radii.max().item())
    close_points: list[Tensor] = []
    close_examples: list[Tensor] = []
    first = 0
    for point, example, slack in decide_pairs(bounds, points.flatten(1), radii):
        close_points.append(point + first)
        close_examples.append(example)
        first += len(slack)
    return torch.cat(close_points), torch.cat(close_examples)


def spread_eps(eps: float | Tensor, examples: Tensor) -> Float[Tensor, " n"]:
    """Return a radius for each example, in float64 and on the device of the examples."""
    radii = torch.as_tensor(eps, dtype=torch.float64, device=examples.device).detach()
    return radii.expand(len(examples))


def decide_pairs(
    bounds: DistanceBounds, points: Float[Tensor, "batch d"], eps: Float[Tensor, " n"]
) -> Iterator[tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], Float[Tensor, " b"]]]:
    r"""Decide which points are closer to an example than its ``eps``, one block of points at a time.

    Yields:
        Point (within the block) and example of all such pairs, and the slack of each point: a lower bound on
        :math:`\min_j |d_{ij} - \epsilon_j|`. A point that moves by less than its slack enters no ball around an example
        and leaves none.
    """
    most = eps.max()
    relative_eps = eps / bounds.unit
    certainly_closer = relative_eps.square() * (1 - bounds.threshold_error)
    for block in split_into_blocks(points, len(bounds.examples)):
        lower, point_norms = bounds.lower(block)
        point, example = (~bounds.certainly_farther(lower, eps)).nonzero(as_tuple=True)  # also where the bound is NaN
        upper = bounds.upper(lower[point, example], point_norms[point], example)
        distance = upper.double().clamp(min=0).sqrt() * bounds.unit
        undecided = (~(upper < certainly_closer[example])).nonzero().flatten()
        distance[undecided] = bounds.exact(block, point[undecided], example[undecided])
        # All other pairs are farther apart than eps, by at least what their lower bounds say.
        lower[point, example] = torch.inf
        subtracted = relative_eps.to(lower.dtype).clamp(min=torch.finfo(lower.dtype).tiny)  # not rounded down to zero
        gap = lower.sqrt_().sub_(subtracted).amin(1).double() * bounds.unit
        gap = gap.scatter_reduce(0, point, (distance - eps[example]).abs(), "amin")
        # Squares overflow long before distances do.
        far = gap.isinf()
        gap[far] = bounds.lower_far(block[far]) - most
        # Distances are rounded now and later, in float64 or in the type of the bounds.
        dim = points.shape[1]
        rounding = 4 * (dim + 8) * torch.finfo(torch.float64).eps + 8 * torch.finfo(lower.dtype).eps
        inside = distance < eps[example]
        yield point[inside], example[inside], (1 - rounding) * gap - 2 * rounding * most


@dataclass(frozen=True)
class Nearest:
    """The nearest example of each point."""

    index: Int[Tensor, " batch"]
    distance: Float[Tensor, " batch"]
    second: Float[Tensor, " batch"]
    """Distance to the second nearest; infinity if there is one example only."""


@torch.no_grad()
def nearest(points: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"]) -> Nearest:
    """Find the nearest example of each point, and the distances to it and to the second nearest, exact in float64.

    Example:
        >>> nearest(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])).index
        tensor([1])
    """
    check_same_shape(points, examples, "points and examples")
    bounds = DistanceBounds(examples.flatten(1))
    count = min(2, len(examples))
    distances: list[Tensor] = []
    indices: list[Tensor] = []
    for block in split_into_blocks(points.flatten(1), len(examples)):
        lower, _ = bounds.lower(block)
        smallest = _find_smallest(bounds, block, lower, count)
        distances.append(smallest.values)
        indices.append(smallest.indices)
    distance = torch.cat(distances)
    second = distance[:, 1] if count > 1 else torch.full_like(distance[:, 0], torch.inf)
    return Nearest(torch.cat(indices)[:, 0], distance[:, 0], second)


@torch.no_grad()
def nearest_outside(
    examples: Float[Tensor, "n d"], group: Int[Tensor, " n"], rows: Int[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Find the distance of each of ``rows`` to the nearest example of another group, exact in float64.

    Args:
        examples: Flattened examples, one a row.
        group: The group that each example belongs to; there are at least two groups.
        rows: Indices of the examples whose distances are asked for.
    """
    bounds = DistanceBounds(examples)
    distances: list[Tensor] = []
    for chosen in split_into_blocks(rows, len(examples)):
        block = examples[chosen]
        lower, _ = bounds.lower(block)
        lower[group[chosen][:, None] == group] = torch.inf
        distances.append(_find_smallest(bounds, block, lower, 1).values[:, 0])
    return torch.cat(distances)


def _find_smallest(bounds: DistanceBounds, block: Tensor, lower: Tensor, count: int) -> torch.return_types.topk:
    """Find the smallest distances of each point, and the examples; those with an infinite lower bound do not count."""
    every_point = torch.arange(len(block), device=lower.device)
    likely = lower.topk(count, largest=False).indices.unbind(1)
    guesses = [bounds.exact(block, every_point, example) for example in likely]
    farthest_guess = torch.stack(guesses, 1).amax(1, keepdim=True)
    # Only examples that may be nearer than the guesses are subtracted.
    point, example = (~bounds.certainly_farther(lower, farthest_guess)).nonzero(as_tuple=True)
    exact = torch.full(lower.shape, torch.inf, dtype=torch.float64, device=lower.device)
    exact[point, example] = bounds.exact(block, point, example)
    return exact.topk(count, largest=False)


@torch.no_grad()
def default_eps(examples: Float[Tensor, "n *shape"]) -> float:
    r"""Derive a radius: a tenth of the smallest distance between distinct examples, :math:`0.05 \|x\|` for one example.

    One radius for all examples is as small as the closest pair of them makes it; functions that are given no ``eps``
    take :func:`memzoo.dynamics.example_eps`, one for each example. Balls of this radius around different examples are
    far from touching, so a point within ``eps`` of an example belongs to that example alone. Exact duplicates count
    once, with a warning. Time :math:`O(n^2 d)`.

    Example:
        >>> default_eps(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        0.5
    """
    check_batch(examples, "examples")
    flat = select_distinct(examples).flatten(1)
    if len(flat) < len(examples):
        warn_user(
            f"{len(examples) - len(flat)} of {len(examples)} examples are exact duplicates of others; eps is derived "
            "from the distinct ones.",
        )
    if len(flat) > 1:
        return 0.1 * DistanceBounds(flat).smallest()
    eps = 0.05 * flat[0].double().norm().item()
    if eps == 0:
        raise InvalidArgumentError("eps cannot be derived from a single example that is zero everywhere; pass eps=.")
    return eps
