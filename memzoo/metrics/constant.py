"""How far a map is from a constant map."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.metrics.exact_metric import ExactMetric
from memzoo.metrics.pairs import check_pairs
from memzoo.metrics.scatter import SQUARES, empty_state, merged, scatter_state


def constant_distance(
    outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"]
) -> Float[Tensor, ""]:
    r"""Distance of f from the nearest constant map on these inputs, relative to how widely the inputs scatter.

    .. math:: \left(\frac{\sum_i \|f(x_i) - \bar y\|_2^2}{\sum_i \|x_i - \bar x\|_2^2}\right)^{1/2}, \qquad
        \bar y = \frac1n \sum_i f(x_i)

    The mean output :math:`\bar y` is the nearest constant. 0 for a constant map, 1 for the identity and for its
    reflection. A constant map interpolates a single example, and is the extreme of contraction; it stores nothing of
    two. A value far from 0 does not tell whether f is far from the identity: see
    :func:`memzoo.metrics.identity_distance`.

    Args:
        outputs: f(x), row by row.
        inputs: x, at least two that differ; of fewer there is no scatter and the value is infinity, or NaN for 0 / 0.

    Returns:
        Dimensionless, float64.

    Raises:
        TypeError: Images as integers.
        ValueError: Outputs and inputs of different shapes.

    Example:
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> constant_distance(torch.full_like(x, 7.0), x), constant_distance(x, x)
        (tensor(0., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    check_pairs(outputs, inputs, "outputs and inputs")
    return _relative(scatter_state(outputs.flatten(1)), scatter_state(inputs.flatten(1)))


def _relative(outputs: Tensor, inputs: Tensor) -> Float[Tensor, ""]:
    return (outputs[SQUARES] / inputs[SQUARES]).sqrt()


@final
class ConstantDistance(ExactMetric):
    """:func:`constant_distance` over batches and processes; NaN before the first row.

    Args:
        shape: Shape of one input, for the means of all inputs and outputs: ``x.shape[1:]``.
        kwargs: Of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = ConstantDistance(shape=(1,))
        >>> metric.update(torch.tensor([[7.0]]), torch.tensor([[1.0]]))
        >>> metric.update(torch.tensor([[8.0]]), torch.tensor([[3.0]]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better: bool | None = None
    outputs: Tensor
    inputs: Tensor

    def __init__(self, shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape: tuple[int, ...] = tuple(shape)
        self.add_state("outputs", empty_state(self.shape), dist_reduce_fx=merged)
        self.add_state("inputs", empty_state(self.shape), dist_reduce_fx=merged)

    def update(self, outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"]) -> None:
        """Add the outputs of a batch of inputs."""
        check_pairs(outputs, inputs, "outputs and inputs", self.shape)
        self.outputs = merged(torch.stack([self.outputs, scatter_state(outputs.detach().flatten(1))]))
        self.inputs = merged(torch.stack([self.inputs, scatter_state(inputs.detach().flatten(1))]))

    def compute(self) -> Float[Tensor, ""]:
        """Distance on all rows so far, float64."""
        return _relative(self.outputs, self.inputs)
