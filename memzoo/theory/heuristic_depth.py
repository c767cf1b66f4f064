"""The depth at which a linear convolutional network can memorize, by counting parameters (Supplement F)."""

from itertools import pairwise

from memzoo.errors import InvalidArgumentError


def heuristic_depth(side: int, kernel: int = 3) -> int:
    r"""Compute how many k x k filters have the parameters of a full matrix: :math:`\lceil s^4 / k^2 \rceil`.

    In a network of one filter a layer this is the depth, a heuristic of the paper (Supplement F) that its Table 2
    supports; Theorem 5 proves no more than :func:`memzoo.theory.depth_lower_bound`.

    Example:
        >>> [heuristic_depth(side) for side in range(2, 8)]
        [2, 9, 29, 70, 144, 267]
    """
    if side < 1 or kernel < 1:
        raise InvalidArgumentError(f"side and kernel must be at least 1, got {side} and {kernel}.")
    # The upper quotient of whole numbers is exact, whatever their size.
    return -(-(side**4) // kernel**2)


def parameter_count(layers: int, filters: int = 1, *, channels: int = 1, kernel: int = 3) -> int:
    """Count the weights of convolutions without biases, from ``channels`` to ``channels`` through ``filters``.

    The function recounts Tables 1 and 2. The rows of Table 1 printed as 2 layers (27, 2592, 149760 parameters) are
    those of 3 layers; two layers of one filter have 18. The last row of Table 2 prints 3105 for 350 layers, which have
    3150.

    Example:
        >>> [parameter_count(3, filters) for filters in (1, 16, 128)], parameter_count(2)
        ([27, 2592, 149760], 18)
    """
    if min(layers, filters, channels, kernel) < 1:
        raise InvalidArgumentError(f"all sizes must be at least 1, got {(layers, filters, channels, kernel)}.")
    widths = [channels, *[filters] * (layers - 1), channels]
    return kernel**2 * sum(fan_in * fan_out for fan_in, fan_out in pairwise(widths))
