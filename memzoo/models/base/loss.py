"""The squared error that autoencoders are trained on, in the scale that a recipe states."""

from typing import Literal

from torch import Tensor


def squared_error(
    output: Tensor, target: Tensor, reduction: Literal["mean", "sum", "half_sum"] = "mean", *, each: int | None = None
) -> Tensor:
    r"""Compute the mean, the sum, or half the sum of :math:`(f(x) - x)^2` over pixels and examples.

    Where ``each`` names a dimension, compute it for each index of that dimension.

    Example:
        >>> import torch
        >>> squared_error(torch.zeros(2, 3), torch.ones(2, 3), "half_sum")
        tensor(3.)
        >>> squared_error(torch.zeros(2, 3), torch.ones(2, 3), "sum", each=1)
        tensor([2., 2., 2.])
    """
    squares = (output - target).square()
    over = tuple(dim for dim in range(squares.dim()) if dim != each)
    match reduction:
        case "mean":
            return squares.mean(over)
        case "sum":
            return squares.sum(over)
        case "half_sum":
            return 0.5 * squares.sum(over)
