"""Which moving points are near which examples, decided again only where a point has moved far enough."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.dynamics.orbits.distance import decided
from memzoo.dynamics.orbits.distance_bounds import Squares, blocks


class Vicinity:
    r"""The pairs of a moving point and a fixed example closer than ``eps``, exact at every step.

    A step of length s changes each distance by at most s. So a point whose distances were all at least ``slack`` away
    from ``eps`` is not looked at until its path since then has that length.

    Cost: a row that is looked at costs its n distances by matrix product; any other row nothing. Memory: one centred
    float32 copy of the examples and one bit a pair.

    Args:
        points: Where the points start, finite; one flattened point a row.
        examples: One flattened example a row.
        eps: Radius, L2.
        offset: Distance of each example from the subspace of the coordinates, where points and examples are given in
            coordinates of a subspace that holds all points:
            :math:`d_{ij}^2 = \|x_i - e_j\|^2 + \text{offset}_j^2`. None for zero.
    """

    def __init__(
        self,
        points: Float[Tensor, "batch d"],
        examples: Float[Tensor, "n d"],
        eps: float,
        *,
        offset: Float[Tensor, " n"] | None = None,
    ) -> None:
        self.eps = eps
        self.squares: Squares = Squares(examples, eps, offset=offset)
        count, device = len(points), points.device
        self.nearby: Tensor = torch.zeros(len(examples), dtype=torch.long, device=device)  # how many points
        self.at: Tensor = torch.full((count,), -1, device=device)  # any one of the examples
        self.path: Tensor = torch.zeros(count, dtype=torch.float64, device=device)
        self.slack: Tensor = torch.zeros_like(self.path)
        self.bits: Tensor = torch.zeros(
            count, -(-len(examples) // 8), dtype=torch.uint8, device=device
        )  # stale where at = -1
        self._look(torch.arange(count, device=device), points)

    @property
    def reached(self) -> Bool[Tensor, " n"]:
        """Examples with some point within ``eps``."""
        return self.nearby > 0

    def move(self, rows: Int[Tensor, " b"], points: Float[Tensor, "b d"], lengths: Float[Tensor, " b"]) -> int:
        """The points of ``rows`` go to ``points``, by steps of these L2 lengths, computed in the type of the points.

        Returns:
            How many of the rows had to be looked at.
        """
        kind = torch.finfo(points.dtype)
        dim = points.shape[1]
        self.path[rows] += (1.001 + dim * kind.eps) * lengths.double() + 2 * (dim * kind.tiny) ** 0.5
        due = (~(self.path[rows] < self.slack[rows])).nonzero().flatten()
        if len(due):
            self._look(rows[due], points[due])
        return len(due)

    def _look(self, rows: Tensor, points: Tensor) -> None:
        for block, (row, column, slack) in zip(
            blocks(rows, len(self.nearby)), decided(self.squares, points, self.eps), strict=True
        ):
            self.path[block], self.slack[block] = 0, slack
            left = block[self.at[block] >= 0]
            self.nearby -= unpacked(self.bits[left], len(self.nearby)).sum(0)
            self.nearby += torch.bincount(column, minlength=len(self.nearby))
            entered, position = row.unique(return_inverse=True)
            inside = torch.zeros(len(entered), len(self.nearby), dtype=torch.uint8, device=rows.device)
            inside[position, column] = 1
            self.bits[block[entered]] = packed(inside)
            self.at[block] = -1
            self.at[block[row]] = column


def packed(flags: Tensor) -> Tensor:
    """Rows of zeros and ones, eight to a byte."""
    flags = torch.nn.functional.pad(flags, (0, -flags.shape[1] % 8))
    return torch.stack([flags[:, bit::8] << bit for bit in range(8)]).sum(0, dtype=torch.uint8)


def unpacked(bits: Tensor, count: int) -> Tensor:
    """The zeros and ones again, ``count`` a row."""
    return torch.stack([bits >> bit & 1 for bit in range(8)], 2).flatten(1)[:, :count]
