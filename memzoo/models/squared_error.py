"""The squared error that autoencoders are trained on, in the scale that a recipe states."""

from typing import Literal

from torch import Tensor


def squared_error(output: Tensor, target: Tensor, reduction: Literal["mean", "sum", "half_sum"] = "mean") -> Tensor:
    r"""Mean, sum, or half the sum of :math:`(f(x) - x)^2` over pixels and examples.

    Example:
        >>> import torch
        >>> squared_error(torch.zeros(2, 3), torch.ones(2, 3), "half_sum")
        tensor(3.)
    """
    squares = (output - target).square()
    match reduction:
        case "mean":
            return squares.mean()
        case "sum":
            return squares.sum()
        case "half_sum":
            return 0.5 * squares.sum()
