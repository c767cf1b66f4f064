"""The scatter of points about their mean, in states that can be merged without losing digits.

A state holds the number of points, their scatter, and from then on their mean (Chan, Golub and LeVeque 1983).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

COUNT = 0
"""Index of the number of points in a state."""
SQUARES = 1
"""Index of the scatter, the sum of squared distances from the mean."""
MEAN = 2
"""Index at which the mean begins."""


def scatter_state(points: Float[Tensor, "batch d"]) -> Float[Tensor, " 2+d"]:
    r"""Compute the number of points, :math:`\sum_i \|x_i - \bar x\|_2^2`, and :math:`\bar x`, in float64."""
    x = points.double()
    # The first row is subtracted before the mean is formed, so that the mean of equal rows is exactly that row.
    first = x[:1].expand_as(x) if len(x) else x
    mean = x[:1].sum(0) + (x - first).sum(0) / max(1, len(x))
    squares = (x - mean).square().sum()
    return torch.cat([squares.new_tensor([len(x)]), squares[None], mean])


def empty_state(shape: Sequence[int]) -> Float[Tensor, " 2+d"]:
    """Return the state of no points."""
    return torch.zeros(MEAN + math.prod(shape), dtype=torch.float64)


def merge_states(states: Float[Tensor, "parts 2+d"]) -> Float[Tensor, " 2+d"]:
    r"""Compute the state of all parts together (Chan, Golub and LeVeque 1983).

    :math:`S = \sum_p S_p + \sum_p n_p \|\bar x_p - \bar x\|^2` is a sum of terms that are not negative, where
    :math:`\sum \|x_i\|^2 - n \|\bar x\|^2` would cancel.
    """
    count = states[:, COUNT]
    means = states[:, MEAN:]
    total = count.sum()
    # Means are averaged relative to that of the largest part, so that equal means give exactly that mean.
    heaviest = means[count.argmax()]
    weight = count / total.clamp(min=1)
    mean = heaviest + weight @ (means - heaviest)
    within = states[:, SQUARES].sum()
    between = (count * (means - mean).square().sum(1)).sum()
    return torch.cat([total[None], (within + between)[None], mean])


def add_to_state(state: Float[Tensor, " 2+d"], points: Float[Tensor, "batch *shape"]) -> Float[Tensor, " 2+d"]:
    """Compute the state of the points of ``state`` and these points together, without a gradient."""
    return merge_states(torch.stack([state, scatter_state(points.detach().flatten(1))]))
