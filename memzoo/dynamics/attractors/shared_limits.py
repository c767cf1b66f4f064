"""Tell apart the limits of different examples.

Two limits are the same if they are not farther apart than the errors of both places allow. Only limits whose place is
known take part: where an open orbit will end is not guessed.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class SharedLimits(NamedTuple):
    """Which examples end at the same point, one row an example."""

    limit_of: Int[Tensor, " n"]
    """First example that ends at the same point."""
    distinct: Bool[Tensor, " n"]
    """No example of another group ends there."""


def find_shared_limits(
    limits: Float[Tensor, "n d"], resolution: Float[Tensor, " n"], group: Int[Tensor, " n"]
) -> SharedLimits:
    """Find the first example that ends at the same point as each, and tell which groups share their limits with none.

    Args:
        limits: Limits in the arithmetic in which they were computed.
        resolution: Errors of their places, L2; NaN where there is no limit.
        group: Examples of equal numbers, such as duplicates, may share a limit.
    """
    # Comparisons with NaN are false: an orbit without a limit shares it with no other.
    same = measure_distances(limits, limits) <= resolution[:, None] + resolution
    own = torch.eye(len(limits), dtype=torch.bool, device=limits.device)
    related = group[:, None] == group
    # The first largest entry of a row of zeros and ones is its first one.
    return SharedLimits((same | own).int().argmax(1), ~(same & ~related).any(1))


def measure_group_offsets(
    limits: Float[Tensor, "n d"], examples: Float[Tensor, "n *shape"], group: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Measure how far each limit is from the nearest example of its group, L2."""
    flat = examples.flatten(1).double()
    offset = (limits.double() - flat).norm(dim=1)
    for number in group.bincount().gt(1).nonzero().flatten():
        members = (group == number).nonzero().flatten()
        offset[members] = measure_distances(limits[members], flat[members]).amin(1)
    return offset


def measure_distances(points: Float[Tensor, "n d"], others: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Measure the distances of all pairs by subtraction in float64."""
    return torch.cdist(points.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist")
