"""The least training loss that a linear last layer of a given width allows, whatever the layers before it.

The bound is the theorem of Eckart and Young (1936) on the best approximation of a given rank; the paper does not have
it.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def loss_floor(examples: Float[Tensor, "n *shape"], width: int) -> float:
    r"""Compute the least training loss of any network whose last layer is affine with ``width`` inputs.

    The outputs lie in an affine subspace of at most that dimension, so that the mean squared error over n examples of d
    pixels is at least :math:`\sum_{i > w} \sigma_i^2 / (n d)`, with the singular values of the centred examples
    (Eckart and Young); it is 0 for a width of n - 1 and more.

    Example:
        >>> corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
        >>> round(loss_floor(corners, width=1), 6), loss_floor(corners, width=2)
        (0.5, 0.0)
    """
    rows = examples.flatten(1).double()
    if width >= len(rows) - 1:
        return 0.0
    singular_values = torch.linalg.svdvals(rows - rows.mean(0))
    # No affine subspace of dimension w leaves less than the smallest singular values.
    left_out = singular_values[width:].square().sum()
    return (left_out / rows.numel()).item()
