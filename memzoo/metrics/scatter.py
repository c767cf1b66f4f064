"""How widely points scatter about their mean, in parts that can be merged without losing digits."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

COUNT, SQUARES, MEAN = 0, 1, 2  # places in a state: how many points, their scatter, from here on their mean


def scatter_state(points: Float[Tensor, "batch d"]) -> Float[Tensor, " 2+d"]:
    r"""Number of points, :math:`\sum_i \|x_i - \bar x\|_2^2`, and :math:`\bar x`, in float64."""
    x = points.double()
    # the first row is subtracted before the mean is formed: the mean of equal rows is then exactly that row
    first = x[:1].expand_as(x) if len(x) else x
    mean = x[:1].sum(0) + (x - first).sum(0) / max(1, len(x))
    squares = (x - mean).square().sum()
    return torch.cat([squares.new_tensor([len(x)]), squares[None], mean])


def empty_state(shape: Sequence[int]) -> Float[Tensor, " 2+d"]:
    """The state of no points."""
    return torch.zeros(MEAN + math.prod(shape), dtype=torch.float64)


def merged(states: Float[Tensor, "parts 2+d"]) -> Float[Tensor, " 2+d"]:
    r"""The state of all parts together (Chan, Golub and LeVeque 1983).

    :math:`S = \sum_p S_p + \sum_p n_p \|\bar x_p - \bar x\|^2`: sums of terms that are not negative, where
    :math:`\sum \|x_i\|^2 - n \|\bar x\|^2` would cancel.
    """
    count, squares, means = states[:, COUNT], states[:, SQUARES], states[:, MEAN:]
    heaviest = means[count.argmax()]
    weight = count / count.sum().clamp(min=1)
    mean = heaviest + weight @ (means - heaviest)
    between = (count * (means - mean).square().sum(1)).sum()
    return torch.cat([count.sum()[None], (squares.sum() + between)[None], mean])
