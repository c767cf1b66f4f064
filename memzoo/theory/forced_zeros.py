"""Zeros that no filters can fill, because of which linear convolutional networks need depth.

These are Theorem 5 of the paper, the lemma before it and the corollary after it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError


def forced_zero_pattern(side: int, layers: int, kernel: int = 3) -> Bool[Tensor, "d d"]:
    r"""Mark where the matrix of a stack of convolutions is zero whatever its filters (Theorem 5).

    The matrix is d x d, with d the square of ``side``.
    One layer of stride 1 carries a pixel (k - 1)/2 far along each axis, L layers L times as far. Several filters a
    layer only add paths of this kind, so the pattern is the same for each pair of an input and an output channel; skip
    connections only shorten them.

    Args:
        side: Side s of images s x s.
        layers: Number L of layers; 0 is the identity.
        kernel: Odd size k of each filter.

    Raises:
        ValueError: A size out of range.

    Example:
        >>> forced_zero_pattern(3, 1).sum()  # two columns or two rows apart
        tensor(32)
        >>> forced_zero_pattern(3, 2).any()
        tensor(False)
    """
    _check_sizes(side, kernel)
    if layers < 0:
        raise InvalidArgumentError(f"layers must be at least 0, got {layers}.")
    pixel = torch.arange(side**2)
    row = pixel // side
    column = pixel % side
    # the number of pixels between two pixels along the farther axis, and how far L layers carry one
    distance = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
    reach = layers * ((kernel - 1) // 2)
    return distance > reach


def depth_lower_bound(side: int, kernel: int = 3) -> int:
    """Compute the depth below which a linear convolutional network cannot memorize images s x s: s - 1 for k = 3.

    The network has stride 1. The depth is the least L without forced zeros (Theorem 5), whatever the number of filters.
    Two layers are too few from 4 x 4 on (the corollary of Theorem 5). The bound is necessary, not sufficient: see
    :func:`memzoo.theory.heuristic_depth`.

    Example:
        >>> [depth_lower_bound(side) for side in (2, 3, 4, 7)]
        [1, 2, 3, 6]
    """
    _check_sizes(side, kernel)
    if kernel == 1 and side > 1:
        raise InvalidArgumentError("filters of size 1 x 1 never mix pixels, so no depth suffices; use kernel=3.")
    if side == 1:
        return 0
    # The smallest L that carries a pixel over s - 1 others: the upper quotient of whole numbers.
    return -(-(side - 1) // ((kernel - 1) // 2))


def unmemorizable_vector(pattern: Bool[Tensor, "d d"]) -> Float[Tensor, " d"] | None:
    r"""Construct a vector that no matrix with these forced zeros memorizes (the lemma); None without a forced zero.

    A matrix that memorizes v alone is the projection :math:`v v^T / \|v\|^2`. With a forced zero at (i, j), the
    projection onto v = e_i + e_j has 1/2 there, and where i = j that onto v = e_i has 1.

    Example:
        >>> unmemorizable_vector(torch.tensor([[False, True], [False, False]]))
        tensor([1., 1.])
    """
    if not pattern.any():
        return None
    vector = torch.zeros(len(pattern))
    vector[pattern.nonzero()[0]] = 1.0
    return vector


def memorization_gap(pattern: Bool[Tensor, "d d"], vector: Float[Tensor, " d"]) -> float:
    r"""Compute the Frobenius distance of the projection onto ``vector`` from the nearest matrix with these zeros.

    The nearest matrix copies the projection and has zeros where they are forced, so the gap is the norm of the entries
    that become zero; it is 0 where the pattern allows memorizing this vector (the lemma before Theorem 5).

    Raises:
        ValueError: The vector is zero or of another size.

    Example:
        >>> memorization_gap(forced_zero_pattern(4, 2), torch.ones(16)) > 0
        True
    """
    if vector.shape != pattern.shape[:1] or not vector.any():
        raise InvalidArgumentError(
            f"the vector must be nonzero with {len(pattern)} entries, got {tuple(vector.shape)}."
        )
    unit = vector.double() / vector.double().norm()
    return torch.outer(unit, unit)[pattern].norm().item()


def _check_sizes(side: int, kernel: int) -> None:
    """Raise an error unless the image has a pixel and the kernel is odd."""
    if side < 1:
        raise InvalidArgumentError(f"side must be at least 1, got {side}.")
    if kernel < 1 or kernel % 2 == 0:
        raise InvalidArgumentError(f"kernel must be odd, so that it has a middle, got {kernel}.")
