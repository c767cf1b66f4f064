"""Measure the classical attack that an audit is compared with: membership inference by reconstruction error.

A network usually reconstructs its training images better than other images. The attack guesses that an image with a
small error was trained on (Yeom, Giacomelli, Fredrikson, Jha: Privacy risk in machine learning, 2018).
"""

from jaxtyping import Float
from torch import Tensor

from memzoo.auditing.statistics import area_under_roc


def error_auc(members: Float[Tensor, " n"], controls: Float[Tensor, " m"]) -> float:
    r"""Compute the probability that the error of a member is smaller than that of a control, ties counting one half.

    The area under the ROC curve of membership inference by reconstruction error: 0.5 is chance, 1 tells every member
    from every control. It shows that the network treats its training images differently, not that an image comes out.

    Example:
        >>> import torch
        >>> error_auc(torch.tensor([0.1, 0.5]), torch.tensor([0.5, 0.7]))
        0.875
    """
    return area_under_roc(-members, -controls)
