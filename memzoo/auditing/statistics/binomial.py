"""Compute tails of the binomial distribution, and exact confidence intervals of a share."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.dynamics import Share
from memzoo.errors import InvalidArgumentError

HALVINGS = 40
"""Halvings of an interval, to 1e-12 of its length."""


def weigh_outcomes(trials: int, p: float) -> Float[Tensor, " outcomes"]:
    r"""Compute :math:`\binom{n}{k} p^k (1 - p)^{n - k}` for each k from 0 to n, in float64."""
    if trials < 1 or not 0 <= p <= 1:
        raise InvalidArgumentError(f"a binomial needs trials >= 1 and 0 <= p <= 1, got {trials} and {p!r}.")
    k = torch.arange(trials + 1, dtype=torch.float64)
    return torch.exp(
        _count_ways(trials) + torch.xlogy(k, k.new_tensor(p)) + torch.xlogy(trials - k, k.new_tensor(1 - p))
    )


@lru_cache(maxsize=8)
def _count_ways(trials: int) -> Float[Tensor, " outcomes"]:
    """Compute the logarithms of the binomial coefficients, which leave the range of float64 from 1030 trials on."""
    k = torch.arange(trials + 1, dtype=torch.float64)
    return math.lgamma(trials + 1) - torch.lgamma(k + 1) - torch.lgamma(trials - k + 1)


def binomial_tail(least: int, trials: int, p: float) -> float:
    """Compute the probability of at least ``least`` successes.

    Example:
        >>> round(binomial_tail(1, 2, 0.5), 6)
        0.75
    """
    if least <= 0:
        return 1.0
    return min(1.0, weigh_outcomes(trials, p)[least:].sum().item())


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> Share:
    r"""Compute the exact confidence interval of a share: at each true share it holds it with at least the confidence.

    The lower end is the share at which ``count`` or more successes have the probability :math:`\alpha / 2`, the upper
    end that at which ``count`` or fewer have it (Clopper and Pearson, Biometrika 26, 1934).

    Raises:
        ValueError: No trial, more successes than trials, a level outside of (0, 1).

    Example:
        >>> [round(value, 3) for value in clopper_pearson(10, 10)]  # the lower end is 0.025^(1 / 10)
        [1.0, 0.692, 1.0]
    """
    if total < 1 or not 0 <= count <= total:
        raise InvalidArgumentError(f"a share needs 0 <= count <= total and at least one trial, got {count} of {total}.")
    if not 0 < confidence < 1:
        raise InvalidArgumentError(f"confidence must lie between 0 and 1, got {confidence!r}; 0.95 is usual.")
    alpha = (1 - confidence) / 2
    low = 0.0 if count == 0 else bisect(lambda p: binomial_tail(count, total, p) < alpha)
    high = 1.0 if count == total else bisect(lambda p: 1 - binomial_tail(count + 1, total, p) > alpha)
    return Share(count / total, low, high)


def bisect(is_below: Callable[[float], bool], low: float = 0.0, high: float = 1.0) -> float:
    """Find where a condition that holds from ``low`` on ceases to hold."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2
