"""The distance of outputs from the span of the training examples (Section 2 of the paper)."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo.metrics.row_mean import RowMean


def span_residual(
    outputs: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"]
) -> Float[Tensor, " batch"]:
    r"""Compute the relative distance of each output from the linear span of the examples, in [0, 1].

    This is :math:`\|y - P y\|_2 / \|y\|_2` with P the orthogonal projection onto the span, in float64; 0 for an output
    that is zero, NaN for one that is not finite. A linear memorizing autoencoder maps any input into the span (Section
    2 and Figure 7 of the paper). The residual does not show which mixture of the examples an output is.

    Args:
        outputs: Outputs of the autoencoder for any inputs.
        examples: Training examples. Directions that rounding to their dtype explains do not count: in float32 a third
            image that is the sum of two adds no direction.

    Returns:
        Residuals in float64. Time O(n d min(n, d)) for the span and O(B d min(n, d)) for the outputs.

    Raises:
        NonFiniteError: The examples hold NaN or infinity.
        ValueError: Outputs and examples have different shapes.

    Example:
        >>> span_residual(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.8000], dtype=torch.float64)
    """
    check_same_shape(outputs, examples, "outputs and examples")
    return measure_residual(span_basis(examples), outputs.flatten(1).double())


def span_basis(examples: Float[Tensor, "n *shape"]) -> Float[Tensor, "r d"]:
    """Compute orthonormal rows, in float64, that span what the examples span beyond rounding."""
    check_batch(examples, "examples")
    x = examples.detach().flatten(1).double()
    return find_basis(x, torch.finfo(examples.dtype).eps * x.norm())


def find_basis(vectors: Float[Tensor, "n d"], noise: Float[Tensor, ""]) -> Float[Tensor, "r d"]:
    """Compute orthonormal rows that span the vectors; ``noise`` is the Frobenius norm of the error in the vectors."""
    _, singular, directions = torch.linalg.svd(vectors, full_matrices=False)
    # An error moves a singular value by at most its norm (Weyl); the decomposition has an error of its own.
    of_decomposition = max(vectors.shape) * torch.finfo(torch.float64).eps * singular[0]
    return directions[singular > noise + of_decomposition]


def measure_residual(basis: Float[Tensor, "r d"], y: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
    """Compute the share of the length of each row that is orthogonal to the basis."""
    projection = y @ basis.mT @ basis
    norm = y.norm(dim=1)
    return torch.where(norm == 0, 0.0, (y - projection).norm(dim=1) / norm)


@final
class SpanResidual(RowMean):
    """Average :func:`span_residual` over batches and processes; NaN before the first row.

    Args:
        examples: Training examples; their span is computed once, in O(n d min(n, d)).
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = SpanResidual(torch.tensor([[1.0, 0.0]]))
        >>> metric.update(torch.tensor([[3.0, 4.0], [2.0, 0.0]]))
        >>> metric.compute()
        tensor(0.4000, dtype=torch.float64)
    """

    plot_upper_bound: float | None = 1.0

    def __init__(self, examples: Float[Tensor, "n *shape"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # These are no states, so that checkpoints of a model carry no examples.
        self.examples = examples
        self._basis = span_basis(examples)

    def update(self, outputs: Float[Tensor, "batch *shape"]) -> None:
        """Add a batch of outputs ``(B, *shape)``."""
        check_same_shape(outputs, self.examples, "outputs and examples")
        self._basis = self._basis.to(outputs.device)
        self.add(measure_residual(self._basis, outputs.detach().flatten(1).double()))
