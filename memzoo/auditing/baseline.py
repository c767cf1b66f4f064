"""The classical attack beside which an audit stands: members are reconstructed better than other images."""

from jaxtyping import Float
from torch import Tensor


def error_auc(members: Float[Tensor, " n"], controls: Float[Tensor, " m"]) -> float:
    r"""Probability that a member's reconstruction error is smaller than a control's, ties counting one half.

    The area under the ROC curve of membership inference by reconstruction error: 0.5 is chance, 1 tells every member
    from every control. It says that the network treats its training images differently, not that one comes out. Memory
    :math:`O(n m)`.

    Example:
        >>> import torch
        >>> error_auc(torch.tensor([0.1, 0.5]), torch.tensor([0.5, 0.7]))
        0.875
    """
    less = (members[:, None] < controls).double() + 0.5 * (members[:, None] == controls).double()
    return less.mean().item()
