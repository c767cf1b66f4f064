"""Measure the classical attack that an audit is compared with: membership inference by reconstruction error.

A network usually reconstructs its training images better than other images. The attack guesses that an image with a
small error was trained on (Yeom, Giacomelli, Fredrikson, Jha: Privacy risk in machine learning, 2018).
"""

from jaxtyping import Float
from torch import Tensor


def error_auc(members: Float[Tensor, " n"], controls: Float[Tensor, " m"]) -> float:
    r"""Compute the probability that the error of a member is smaller than that of a control, ties counting one half.

    The area under the ROC curve of membership inference by reconstruction error: 0.5 is chance, 1 tells every member
    from every control. It shows that the network treats its training images differently, not that an image comes out.
    Memory :math:`O(n m)`.

    Example:
        >>> import torch
        >>> error_auc(torch.tensor([0.1, 0.5]), torch.tensor([0.5, 0.7]))
        0.875
    """
    # The area equals the probability of the right order of a random pair (Hanley and McNeil, 1982).
    smaller = (members[:, None] < controls).double()
    equal = (members[:, None] == controls).double()
    return (smaller + equal / 2).mean().item()
