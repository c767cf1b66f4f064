"""The distance of a map from the constant maps."""

from collections.abc import Sequence
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from memzoo.metrics.exact_metric import ExactMetric
from memzoo.metrics.pairs import check_pairs
from memzoo.metrics.scatter import SQUARES, add_to_state, empty_state, merge_states, scatter_state


def constant_distance(
    outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"]
) -> Float[Tensor, ""]:
    r"""Compute the distance of f from the nearest constant map on these inputs, relative to the scatter of the inputs.

    .. math:: \left(\frac{\sum_i \|f(x_i) - \bar y\|_2^2}{\sum_i \|x_i - \bar x\|_2^2}\right)^{1/2}, \qquad
        \bar y = \frac1n \sum_i f(x_i)

    The mean output :math:`\bar y` is the nearest constant. The distance is 0 for a constant map, and 1 for the identity
    and for its reflection. A constant map interpolates a single example and is the extreme of contraction, but it
    cannot store two examples. A value far from 0 does not tell whether f is far from the identity: see
    :func:`memzoo.metrics.identity_distance`.

    Args:
        outputs: f(x), row by row.
        inputs: x, at least two that differ; otherwise there is no scatter, and the value is infinity, or NaN for 0 / 0.

    Returns:
        Dimensionless, float64.

    Raises:
        TypeError: Images are integers.
        ValueError: Outputs and inputs have different shapes.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> constant_distance(torch.full_like(x, 7.0), x), constant_distance(x, x)
        (tensor(0., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    check_pairs(outputs, inputs, "outputs and inputs")
    return _relative(scatter_state(outputs.flatten(1)), scatter_state(inputs.flatten(1)))


def _relative(outputs: Tensor, inputs: Tensor) -> Float[Tensor, ""]:
    """Divide the scatter of the outputs by that of the inputs, as lengths."""
    return (outputs[SQUARES] / inputs[SQUARES]).sqrt()


@final
class ConstantDistance(ExactMetric):
    """Compute :func:`constant_distance` over batches and processes; NaN before the first row.

    Args:
        shape: Shape of one input, for the means of all inputs and outputs: ``x.shape[1:]``.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
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
        # Plain sums of squares would lose their digits far from the origin, see scatter.py.
        self.add_state("outputs", empty_state(self.shape), dist_reduce_fx=merge_states)
        self.add_state("inputs", empty_state(self.shape), dist_reduce_fx=merge_states)

    def update(self, outputs: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"]) -> None:
        """Add the outputs of a batch of inputs."""
        check_pairs(outputs, inputs, "outputs and inputs", self.shape)
        self.outputs = add_to_state(self.outputs, outputs)
        self.inputs = add_to_state(self.inputs, inputs)

    def compute(self) -> Float[Tensor, ""]:
        """Compute the distance on all rows so far, in float64."""
        return _relative(self.outputs, self.inputs)
