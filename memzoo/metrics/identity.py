"""The distance of a map from the identity."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.metrics.exact_metric import ExactMetric
from memzoo.metrics.pairs import check_pairs
from memzoo.metrics.scatter import SQUARES, add_to_state, empty_state, merge_states, scatter_state


def identity_distance(
    outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"]
) -> Float[Tensor, ""]:
    r"""Compute the distance of f from the identity on these inputs, relative to the scatter of the inputs.

    .. math:: \left(\frac{\sum_i \|f(x_i) - x_i\|_2^2}{\sum_i \|x_i - \bar x\|_2^2}\right)^{1/2}

    The distance is 0 for the identity, 1 for the constant map to the mean :math:`\bar x`, and :math:`(1 - k/d)^{1/2}`
    for the projection of isotropic data onto k of d dimensions. The identity interpolates every training set. A map
    that memorizes interpolates as well, but is far from the identity on other inputs, so give inputs that are not
    training examples. See :func:`memzoo.metrics.constant_distance` for the other trivial map.

    Args:
        outputs: f(x), row by row.
        inputs: x, at least two that differ; otherwise there is no scatter, and the value is infinity, or NaN for 0 / 0.

    Returns:
        Dimensionless, float64.

    Raises:
        TypeError: Images are integers.
        ValueError: Outputs and inputs have different shapes.

    Example:
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> identity_distance(x, x), identity_distance(torch.full_like(x, 2.0), x)
        (tensor(0., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    check_pairs(outputs, inputs, "outputs and inputs")
    return _relative(_squared_gap(outputs, inputs), scatter_state(inputs.flatten(1)))


def _squared_gap(outputs: Tensor, inputs: Tensor) -> Float[Tensor, ""]:
    """Sum the squares of f(x) - x, in float64."""
    return (outputs.double() - inputs.double()).square().sum()


def _relative(gap: Tensor, state: Tensor) -> Float[Tensor, ""]:
    """Divide a sum of squares by the scatter of the inputs, as lengths."""
    return (gap / state[SQUARES]).sqrt()


@final
class IdentityDistance(ExactMetric):
    """Compute :func:`identity_distance` over batches and processes; NaN before the first row.

    Args:
        shape: Shape of one input, for the mean of all: ``x.shape[1:]``.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = IdentityDistance(shape=(1,))
        >>> metric.update(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
        >>> metric.update(torch.tensor([[2.0]]), torch.tensor([[3.0]]))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    higher_is_better: bool | None = None
    gap: Tensor
    inputs: Tensor

    def __init__(self, shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape: tuple[int, ...] = tuple(shape)
        self.add_state("gap", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        # A plain sum of squares would lose its digits far from the origin, see scatter.py.
        self.add_state("inputs", empty_state(self.shape), dist_reduce_fx=merge_states)

    def update(self, outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"]) -> None:
        """Add the outputs of a batch of inputs."""
        check_pairs(outputs, inputs, "outputs and inputs", self.shape)
        self.gap = self.gap + _squared_gap(outputs.detach(), inputs.detach())
        self.inputs = add_to_state(self.inputs, inputs)

    def compute(self) -> Float[Tensor, ""]:
        """Compute the distance on all rows so far, in float64."""
        return _relative(self.gap, self.inputs)
