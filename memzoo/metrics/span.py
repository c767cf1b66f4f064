"""How far outputs lie from the span of the training examples."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo.metrics.row_mean import RowMean


def span_residual(
    outputs: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"]
) -> Float[Tensor, " batch"]:
    r"""Relative distance of each output from the linear span of the examples, in [0, 1].

    :math:`\|y - P y\|_2 / \|y\|_2` with P the orthogonal projection onto the span, in float64; 0 for an output that is
    zero, NaN for one that is not finite. A linear memorizing autoencoder maps any input into the span (Section 2 and
    Figure 7 of the paper). It says nothing of which mixture of the examples an output is.

    Args:
        outputs: What the autoencoder makes of any inputs.
        examples: Training examples. Directions that rounding to their dtype explains do not count: in float32 a third
            image that is the sum of two adds none.

    Returns:
        Time O(n d min(n, d)) for the span and O(B d min(n, d)).

    Raises:
        NonFiniteError: NaN or infinity in the examples.
        ValueError: Outputs and examples of different shapes.

    Example:
        >>> span_residual(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.8000], dtype=torch.float64)
    """
    check_same_shape(outputs, examples, "outputs and examples")
    return residual_off(span_basis(examples), outputs.flatten(1).double())


def span_basis(examples: Float[Tensor, "n *shape"]) -> Float[Tensor, "r d"]:
    """Orthonormal rows, in float64, that span what the examples span beyond rounding."""
    check_batch(examples, "examples")
    x = examples.detach().flatten(1).double()
    return basis_beyond(x, torch.finfo(examples.dtype).eps * x.norm())


def basis_beyond(vectors: Float[Tensor, "n d"], noise: Float[Tensor, ""]) -> Float[Tensor, "r d"]:
    """Orthonormal rows spanning the vectors; ``noise`` is the Frobenius norm of the error in them."""
    _, singular, directions = torch.linalg.svd(vectors, full_matrices=False)
    # an error moves a singular value by at most its norm (Weyl); the second term is that of the decomposition
    floor = noise + max(vectors.shape) * torch.finfo(torch.float64).eps * singular[0]
    return directions[singular > floor]


def residual_off(basis: Float[Tensor, "r d"], y: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
    """Share of the length of each row that is orthogonal to the basis."""
    distance, norm = (y - y @ basis.mT @ basis).norm(dim=1), y.norm(dim=1)
    return torch.where(norm == 0, 0.0, distance / norm)


@final
class SpanResidual(RowMean):
    """Mean of :func:`span_residual` over batches and processes; NaN before the first row.

    Args:
        examples: Training examples; the span is found once, in O(n d min(n, d)).
        kwargs: Of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = SpanResidual(torch.tensor([[1.0, 0.0]]))
        >>> metric.update(torch.tensor([[3.0, 4.0], [2.0, 0.0]]))
        >>> metric.compute()
        tensor(0.4000, dtype=torch.float64)
    """

    plot_upper_bound: float | None = 1.0

    def __init__(self, examples: Float[Tensor, "n *shape"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.examples = examples
        self._basis = span_basis(examples)

    def update(self, outputs: Float[Tensor, "batch *shape"]) -> None:
        """Add a batch of outputs ``(B, *shape)``."""
        check_same_shape(outputs, self.examples, "outputs and examples")
        self._basis = self._basis.to(outputs.device)
        self.add(residual_off(self._basis, outputs.detach().flatten(1).double()))
