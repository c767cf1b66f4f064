"""The distance of examples from phi-eigenvectors of a one-layer autoencoder (Section 2 of the paper)."""

from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from memzoo.metrics.pairs import check_pairs
from memzoo.metrics.row_mean import RowMean


def phi_eigen_residual(
    outputs: Float[Tensor, "batch *shape"], examples: Float[Tensor, "batch *shape"], *, eigenvalue: float | None = 1.0
) -> Float[Tensor, " batch"]:
    r"""Compute the distance of each example from a phi-eigenvector, :math:`\|\phi(A x) - \lambda x\|_2 / \|x\|_2`.

    x is a phi-eigenvector of A with phi-eigenvalue :math:`\lambda` where :math:`\phi(A x) = \lambda x` (Section 2 of
    the paper). The examples of a one-layer autoencoder trained from zero have phi-eigenvalue 1 (the corollary of
    Theorem 1); this is then their relative reconstruction error. It says nothing about inputs that are not examples:
    see :func:`memzoo.metrics.phi_span_residual`.

    Args:
        outputs: :math:`\phi(A x)`, the outputs of the autoencoder for the examples.
        examples: The examples x, in the same order.
        eigenvalue: :math:`\lambda`. None takes the best of each row, :math:`\phi(A x) \cdot x / x \cdot x`: 0 for a
            phi-eigenvector of any phi-eigenvalue.

    Returns:
        Residuals in float64. NaN for an example that is zero, since no eigenvector is zero.

    Raises:
        ValueError: Outputs and examples have different shapes.

    Example:
        >>> import torch
        >>> x = torch.tensor([[3.0, 4.0]])
        >>> phi_eigen_residual(0.5 * x, x), phi_eigen_residual(0.5 * x, x, eigenvalue=None)
        (tensor([0.5000], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """
    check_pairs(outputs, examples, "outputs and examples")
    x = examples.flatten(1).double()
    norm = x.norm(dim=1, keepdim=True)
    # A zero example has no direction: 0 / 0 is NaN, as it should be.
    unit = x / norm
    scaled = outputs.flatten(1).double() / norm
    # The best eigenvalue is the component of the output along the example.
    factor = (scaled * unit).sum(1, keepdim=True) if eigenvalue is None else eigenvalue
    return (scaled - factor * unit).norm(dim=1)


@final
class PhiEigenResidual(RowMean):
    """Average :func:`phi_eigen_residual` over batches and processes; NaN before the first row.

    Args:
        eigenvalue: The phi-eigenvalue; None takes the best of each row.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = PhiEigenResidual()
        >>> metric.update(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    def __init__(self, *, eigenvalue: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eigenvalue = eigenvalue

    def update(self, outputs: Float[Tensor, "batch *shape"], examples: Float[Tensor, "batch *shape"]) -> None:
        """Add the outputs of a batch of examples."""
        self.add(phi_eigen_residual(outputs.detach(), examples.detach(), eigenvalue=self.eigenvalue))
