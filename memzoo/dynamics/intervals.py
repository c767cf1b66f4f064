"""Estimate a share from a finite number of independent trials, with a confidence interval."""

from statistics import NormalDist
from typing import NamedTuple

from memzoo.errors import InvalidArgumentError


class Share(NamedTuple):
    """A share of independent trials with its confidence interval."""

    estimate: float
    low: float
    high: float


def wilson(count: int, total: int, confidence: float = 0.95) -> Share:
    r"""Compute Wilson's score interval: all p with :math:`(\hat p - p)^2 \le z^2 p (1 - p) / n`.

    Unlike the interval :math:`\hat p \pm z \sqrt{\hat p (1 - \hat p) / n}` it has a width where all trials agree
    (Wilson, J. Am. Stat. Assoc. 22, 1927).

    Args:
        count: Trials that succeeded.
        total: Trials, n >= 1, independent of each other.
        confidence: Level of the two-sided interval, between 0 and 1.

    Raises:
        ValueError: No trial, more successes than trials, a level outside of (0, 1).

    Example:
        >>> [round(value, 3) for value in wilson(10, 10)]
        [1.0, 0.722, 1.0]
    """
    if total < 1 or not 0 <= count <= total:
        raise InvalidArgumentError(f"a share needs 0 <= count <= total and at least one trial, got {count} of {total}.")
    if not 0 < confidence < 1:
        raise InvalidArgumentError(f"confidence must lie between 0 and 1, got {confidence!r}; 0.95 is usual.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = count / total
    # The ends of the interval are the roots of a quadratic equation in p: centre +- half.
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    variance = p * (1 - p) / total + z**2 / (4 * total**2)
    half = z / (1 + z**2 / total) * variance**0.5
    return Share(p, max(0.0, centre - half), min(1.0, centre + half))
