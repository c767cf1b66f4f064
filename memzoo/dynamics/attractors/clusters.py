"""Group end points that are one limit up to rounding."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 1024
"""Rows in float64 at one time."""


def find_clusters(points: Float[Tensor, "batch *shape"], tol: float) -> list[Int[Tensor, " members"]]:
    """Group the row indices, the largest group first; all rows of a group are within ``tol`` (L2) of its first row.

    The points are sorted by their projection onto a random direction, and grouped greedily along this line. Points
    within ``tol`` of each other are within ``tol`` on the line, too. A few limits cost a few passes over the batch, and
    points that are all different are compared only with their neighbours on the line instead of all pairs.
    """
    flat = points.flatten(1)
    direction = torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction = (direction / direction.norm()).to(flat.device)
    # A projection does not lengthen distances, so neighbours in space are neighbours on the line.
    line, order = torch.cat([rows.double() @ direction for rows in flat.split(BLOCK)]).sort()
    slack = 1e-12 * flat.abs().max().double() * flat.shape[1]  # the projections are rounded
    ends = torch.searchsorted(line, line + tol + slack, right=True).tolist()
    free = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    groups: list[Tensor] = []
    for first, end in enumerate(ends):
        head = order[first]
        if not free[head]:
            continue
        rows = order[first:end]
        rows = rows[free[rows]]
        members = rows[_measure_distance(flat, rows, flat[head]) <= tol]
        free[members] = False
        groups.append(members)
    return sorted(groups, key=len, reverse=True)


def _measure_distance(flat: Tensor, rows: Tensor, point: Tensor) -> Tensor:
    """Measure the distance of some rows to one point in float64."""
    return torch.cat([(flat[part].double() - point.double()).norm(dim=1) for part in rows.split(BLOCK)])
