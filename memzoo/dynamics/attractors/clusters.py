"""Groups of end points that are one limit up to rounding."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 1024  # rows in float64 at one time


def clusters(points: Float[Tensor, "batch *shape"], tol: float) -> list[Int[Tensor, " members"]]:
    """Row indices in groups, the largest group first, each within ``tol`` (L2) of one of its rows.

    Greedy along a line: points are sorted by their projection onto a random direction, and whatever lies within
    ``tol`` of a point lies within ``tol`` of it on the line, too. A few limits cost a few passes over the batch;
    points that are all different only meet their neighbours on the line, not all pairs.
    """
    flat = points.flatten(1)
    direction = torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction = (direction / direction.norm()).to(flat.device)
    line, order = torch.cat([rows.double() @ direction for rows in flat.split(BLOCK)]).sort()
    slack = 1e-12 * flat.abs().max().double() * flat.shape[1]  # the projections are rounded
    ends = torch.searchsorted(line, line + tol + slack, right=True).tolist()
    free = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    groups = []
    for first, end in enumerate(ends):
        head = order[first]
        if not free[head]:
            continue
        rows = order[first:end]
        rows = rows[free[rows]]
        members = rows[_distance(flat, rows, flat[head]) <= tol]
        free[members] = False
        groups.append(members)
    return sorted(groups, key=len, reverse=True)


def _distance(flat: Tensor, rows: Tensor, point: Tensor) -> Tensor:
    return torch.cat([(flat[part].double() - point.double()).norm(dim=1) for part in rows.split(BLOCK)])
