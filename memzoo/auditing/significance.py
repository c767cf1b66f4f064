"""Could a difference between two shares be chance?"""

from math import comb

from memzoo.errors import InvalidArgumentError


def fisher_exact(hits: int, total: int, other_hits: int, other_total: int) -> float:
    r"""One-sided p-value of Fisher's exact test: how often chance alone gives the first group so many of the hits.

    With all margins fixed and no difference between the groups, the number of hits in the first is hypergeometric; the
    p-value is :math:`\sum_{k \ge hits} \binom{total}{k} \binom{other}{all - k} / \binom{total + other}{all}`. Exact at
    any size, in whole numbers.

    Args:
        hits: Successes of the first group.
        total: Its size.
        other_hits: Successes of the second group.
        other_total: Its size.

    Raises:
        ValueError: A count outside of its group.

    Example:
        >>> fisher_exact(3, 3, 0, 3)  # 1 / C(6, 3)
        0.05
    """
    for count, size in ((hits, total), (other_hits, other_total)):
        if not 0 <= count <= size:
            raise InvalidArgumentError(f"a group needs 0 <= hits <= total, got {count} of {size}.")
    every = hits + other_hits
    ways = sum(comb(total, k) * comb(other_total, every - k) for k in range(hits, min(total, every) + 1))
    return ways / comb(total + other_total, every)
