"""Rank scores, with equal ranks for equal scores."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo.errors import InvalidArgumentError, NonFiniteError


def check_scores(scores: Tensor, name: str) -> None:
    """Raise unless these are one or more numbers; infinity is a score, NaN is none."""
    if scores.ndim != 1 or not len(scores):
        raise InvalidArgumentError(f"{name} must be one score for each image, got shape {tuple(scores.shape)}.")
    if scores.isnan().any():
        raise NonFiniteError(
            f"{int(scores.isnan().sum())} of {len(scores)} {name} are NaN; give an image of which an attack learns "
            "nothing the lowest score, -inf."
        )


def rank(scores: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Rank scores from 1 for the lowest; equal scores share the mean of their ranks.

    Example:
        >>> rank(torch.tensor([0.5, 0.1, 0.5, 7.0]))
        tensor([2.5000, 1.0000, 2.5000, 4.0000], dtype=torch.float64)
    """
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0)
    return ((last - count + 1 + last).double() / 2)[place]


def count_scores_above(scores: Float[Tensor, " n"], thresholds: Float[Tensor, " m"]) -> Int[Tensor, " m"]:
    """Count the scores above each threshold, without those that equal it.

    Example:
        >>> count_scores_above(torch.tensor([0.5, 0.1, 0.5]), torch.tensor([0.1, 0.5, 0.0]))
        tensor([2, 0, 3])
    """
    ascending = scores.sort().values
    return len(scores) - torch.searchsorted(ascending, thresholds.to(scores), right=True)
