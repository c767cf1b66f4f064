"""Find single members whose scores no control explains: what a test of all members together cannot see."""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.auditing.statistics.ranks import check_scores


def tail_p_values(members: Float[Tensor, " n"], controls: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
    r"""Compute the probability that one more control has at least the score of each member.

    Counting alone cannot be below :math:`1 / (m + 1)`, too much where a thousand members are compared. Beyond the
    median c of the controls, their scores are taken to fall off exponentially. If k controls lie above c, by a on
    average, the probability that the next one exceeds s is

    .. math::

        \frac{k}{m} \left(1 + \frac{s - c}{k a}\right)^{-k},

    the predictive distribution, which allows for the error of a. Tails that are heavier than exponential make it too
    small; logarithms of errors have such tails rarely.

    Args:
        members: Scores of the members, higher for members.
        controls: Scores of the controls.

    Returns:
        1 where nothing is known: at scores up to the median, and where no control has a finite score above it.

    Example:
        >>> controls = torch.tensor([0.0, 0.0, 1.0, 1.0])
        >>> tail_p_values(torch.tensor([0.0, 1.0, 5.0]), controls)  # k = 2, a = 1: 1/2 (1 + s / 2)^-2
        tensor([1.0000, 0.2222, 0.0408], dtype=torch.float64)
    """
    check_scores(members, "scores of members")
    check_scores(controls, "scores of controls")
    ascending = controls.double().cpu().sort().values
    middle = ascending[(len(ascending) - 1) // 2]  # the lower one of two, which is a score
    above = ascending[ascending > middle]
    excess = (above - middle).mean()
    everywhere_one = torch.ones(len(members), dtype=torch.float64)
    if not len(above) or not excess.isfinite():
        return everywhere_one
    k = len(above)
    gap = (members.double().cpu() - middle).clamp_min(0)
    p_values = k / len(controls) * torch.exp(-k * torch.log1p(gap / (k * excess)))
    return torch.where(gap > 0, p_values, everywhere_one)
