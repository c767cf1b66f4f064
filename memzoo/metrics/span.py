"""How far outputs lie from the span of the training examples."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from memzoo._checks import check_same_shape


def span_residual(
    outputs: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"]
) -> Float[Tensor, " batch"]:
    r"""Relative distance of each output from the linear span of the examples, in [0, 1].

    :math:`\|y - P y\|_2 / \|y\|_2` with P the orthogonal projection onto the span, in float64; 0 for an output that is
    zero. A linear memorizing autoencoder maps any input into the span (Section 2 and Figure 7 of the paper).

    Example:
        >>> span_residual(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.8000], dtype=torch.float64)
    """
    check_same_shape(outputs, examples, "outputs and examples")
    y, x = outputs.flatten(1).double(), examples.flatten(1).double()
    _, singular, directions = torch.linalg.svd(x, full_matrices=False)
    basis = directions[singular > singular[0] * max(x.shape) * torch.finfo(torch.float64).eps]
    distance, norm = (y - y @ basis.mT @ basis).norm(dim=1), y.norm(dim=1)
    return torch.where(norm > 0, distance / norm, 0.0)


@final
class SpanResidual(Metric):
    """Mean of :func:`span_residual` over batches and processes; NaN before the first row."""

    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, examples: Float[Tensor, "n *shape"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.examples = examples
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor) -> None:
        """Add a batch of outputs ``(B, *shape)``."""
        residual = span_residual(outputs, self.examples.to(outputs.device))
        self.total += residual.sum()
        self.count += len(residual)

    def compute(self) -> Tensor:
        """Mean over all rows so far."""
        return self.total / self.count
