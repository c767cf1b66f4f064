"""Track which moving points are near which examples.

Distances are computed again only for points that have moved far enough to change an answer: a step of length s changes
each distance by at most s (triangle inequality).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.dynamics.orbits.distance import decide_pairs, spread_eps
from memzoo.dynamics.orbits.distance_bounds import DistanceBounds, split_into_blocks


class NeighbourTracker:
    r"""Track the pairs of a moving point and a fixed example closer than its ``eps``, exact at every step.

    The slack of a point is a lower bound on how far its distance to any example is from the ``eps`` of that example. A
    point is examined again only when its path since the last examination is as long as its slack.

    Cost: a point that is examined costs its n distances by matrix product; any other point costs nothing. Memory: one
    centred float32 copy of the examples and one bit a pair.

    Args:
        points: Where the points start, finite; one flattened point a row.
        examples: One flattened example a row.
        eps: Radius, L2, one for all examples or one for each.
        offset: Distance of each example from the subspace of the coordinates, where points and examples are given in
            coordinates of a subspace that holds all points:
            :math:`d_{ij}^2 = \|x_i - e_j\|^2 + \text{offset}_j^2`. None for zero.
    """

    def __init__(
        self,
        points: Float[Tensor, "batch d"],
        examples: Float[Tensor, "n d"],
        eps: float | Float[Tensor, " n"],
        *,
        offset: Float[Tensor, " n"] | None = None,
    ) -> None:
        count = len(points)
        device = points.device
        self._eps = spread_eps(eps, examples)
        self._bounds = DistanceBounds(examples, self._eps.max().item(), offset=offset)
        self.points_near: Tensor = torch.zeros(len(examples), dtype=torch.long, device=device)
        """Number of points within ``eps`` of each example."""
        self.example_near: Tensor = torch.full((count,), -1, device=device)
        """Any example within ``eps`` of each point, -1 if there is none."""
        self._path = torch.zeros(count, dtype=torch.float64, device=device)
        self._slack = torch.zeros_like(self._path)
        # One bit a pair; out of date where a point has no example near.
        self._packed_pairs = torch.zeros(count, -(-len(examples) // 8), dtype=torch.uint8, device=device)
        self._examine(torch.arange(count, device=device), points)

    @property
    def reached(self) -> Bool[Tensor, " n"]:
        """Tell for each example whether some point is within ``eps`` of it."""
        return self.points_near > 0

    def move(self, rows: Int[Tensor, " b"], points: Float[Tensor, "b d"], lengths: Float[Tensor, " b"]) -> int:
        """Move ``rows`` to ``points``, by steps of these L2 lengths, which were computed in the type of the points.

        Returns:
            Number of rows that had to be examined.
        """
        limits = torch.finfo(points.dtype)
        dim = points.shape[1]
        # A norm of d terms is rounded, and squares below the smallest normal number are lost.
        self._path[rows] += (1.001 + dim * limits.eps) * lengths.double() + 2 * (dim * limits.tiny) ** 0.5
        due = (~(self._path[rows] < self._slack[rows])).nonzero().flatten()
        if len(due):
            self._examine(rows[due], points[due])
        return len(due)

    def _examine(self, rows: Tensor, points: Tensor) -> None:
        """Decide the pairs of these rows again, and update the counts by what has changed."""
        count = len(self.points_near)
        decisions = decide_pairs(self._bounds, points, self._eps)
        for block, (row, example, slack) in zip(split_into_blocks(rows, count), decisions, strict=True):
            self._path[block] = 0
            self._slack[block] = slack
            # Take out what these points had near before, then add what they have near now.
            had_neighbours = block[self.example_near[block] >= 0]
            self.points_near -= unpack_bits(self._packed_pairs[had_neighbours], count).sum(0)
            self.points_near += torch.bincount(example, minlength=count)
            entered, position = row.unique(return_inverse=True)
            inside = torch.zeros(len(entered), count, dtype=torch.uint8, device=rows.device)
            inside[position, example] = 1
            # Rows without a neighbour keep old bits, which nobody reads.
            self._packed_pairs[block[entered]] = pack_bits(inside)
            self.example_near[block] = -1
            self.example_near[block[row]] = example


def pack_bits(flags: Tensor) -> Tensor:
    """Pack rows of zeros and ones, eight to a byte."""
    flags = torch.nn.functional.pad(flags, (0, -flags.shape[1] % 8))
    return torch.stack([flags[:, bit::8] << bit for bit in range(8)]).sum(0, dtype=torch.uint8)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Unpack the zeros and ones, ``count`` a row."""
    bits = torch.stack([packed >> bit & 1 for bit in range(8)], 2)
    return bits.flatten(1)[:, :count]
