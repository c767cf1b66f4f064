"""Test whether the differences between shares may be chance."""

from collections.abc import Sequence
from itertools import accumulate
from math import comb

from memzoo.errors import InvalidArgumentError


def fisher_exact(hits: int, total: int, other_hits: int, other_total: int) -> float:
    r"""Compute the one-sided p-value of Fisher's exact test.

    It is the probability that chance alone gives the first group at least ``hits`` of all hits.

    With all margins fixed and no difference between the groups, the number of hits in the first is hypergeometric; the
    p-value is :math:`\sum_{k \ge hits} \binom{total}{k} \binom{other}{all - k} / \binom{total + other}{all}`. The sum
    is computed in whole numbers, hence exact at any size.

    Args:
        hits: Successes in the first group.
        total: Size of the first group.
        other_hits: Successes in the second group.
        other_total: Size of the second group.

    Raises:
        InvalidArgumentError: A count is negative or larger than its group.

    Example:
        >>> fisher_exact(3, 3, 0, 3)  # 1 / C(6, 3)
        0.05
    """
    for count, size in ((hits, total), (other_hits, other_total)):
        if not 0 <= count <= size:
            raise InvalidArgumentError(f"a group needs 0 <= hits <= total, got {count} of {size}.")
    all_hits = hits + other_hits
    at_least_as_many = range(hits, min(total, all_hits) + 1)
    # Integers of Python have any size, so that no binomial coefficient overflows or is rounded.
    ways = sum(comb(total, k) * comb(other_total, all_hits - k) for k in at_least_as_many)
    return ways / comb(total + other_total, all_hits)


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    r"""Adjust the p-values of several tests, so that all of them can be compared with one level.

    The k-th smallest of m values is multiplied by m - k + 1 and raised to those before it, at most to 1 (Holm: A simple
    sequentially rejective multiple test procedure, 1979). Where nothing is to be found, the probability that any
    adjusted value is at or below a level is at most this level, however the tests depend on each other.

    Example:
        >>> adjust_by_holm([0.5, 0.0625, 0.25])
        [0.5, 0.1875, 0.5]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    multiplied = [min(1.0, (len(order) - rank) * p_values[i]) for rank, i in enumerate(order)]
    raised = dict(zip(order, accumulate(multiplied, max), strict=True))
    return [raised[i] for i in range(len(order))]
