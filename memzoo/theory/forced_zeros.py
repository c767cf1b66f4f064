"""Zeros that no filters can fill: why linear convolutional networks need depth (Theorem 5, its lemma and corollary)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError


def forced_zero_pattern(side: int, layers: int, kernel: int = 3) -> Bool[Tensor, "d d"]:
    r"""True where the matrix of a stack of convolutions is zero whatever its filters, d the square of ``side``.

    One layer of stride 1 carries a pixel (k - 1)/2 far along each axis, L layers L times as far. Several filters a
    layer only add such paths, so the pattern is the same for each pair of an input and an output channel; skip
    connections only shorten them.

    Args:
        side: s, of images s x s.
        layers: L, 0 for the identity.
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
    row, column = pixel // side, pixel % side
    apart = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
    return apart > layers * ((kernel - 1) // 2)


def depth_lower_bound(side: int, kernel: int = 3) -> int:
    """Layers below which a linear convolutional network of stride 1 cannot memorize images s x s: s - 1 for k = 3.

    The least L without forced zeros (Theorem 5), whatever the number of filters. Two layers are too few from 4 x 4 on
    (its corollary). Not sufficient: see :func:`memzoo.theory.heuristic_depth`.

    Example:
        >>> [depth_lower_bound(side) for side in (2, 3, 4, 7)]
        [1, 2, 3, 6]
    """
    _check_sizes(side, kernel)
    if kernel == 1 and side > 1:
        raise InvalidArgumentError("filters of size 1 x 1 never mix pixels, so no depth suffices; use kernel=3.")
    return 0 if side == 1 else -(-(side - 1) // ((kernel - 1) // 2))


def unmemorizable_vector(pattern: Bool[Tensor, "d d"]) -> Float[Tensor, " d"] | None:
    r"""A vector that no matrix with these forced zeros memorizes (the lemma); None without a forced zero.

    To memorize v alone is to be the projection :math:`v v^T / \|v\|^2`. With a forced zero at (i, j), v = e_i + e_j
    wants 1/2 there, or v = e_i wants 1 where i = j.

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
    r"""Frobenius distance from the projection onto ``vector`` to the nearest matrix with these forced zeros.

    The nearest one copies the projection and has zeros where they are forced, so the gap is the norm of what the zeros
    cut off; 0 where the pattern allows memorizing this vector.

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
    if side < 1:
        raise InvalidArgumentError(f"side must be at least 1, got {side}.")
    if kernel < 1 or kernel % 2 == 0:
        raise InvalidArgumentError(f"kernel must be odd, so that it has a middle, got {kernel}.")
