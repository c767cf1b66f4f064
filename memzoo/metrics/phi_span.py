"""The distance of outputs from the nonlinear span of the training examples (Section 2 of the paper)."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo._types import Map
from memzoo.errors import InvalidArgumentError
from memzoo.metrics.row_mean import RowMean
from memzoo.metrics.span import find_basis, measure_residual


def phi_span_residual(
    outputs: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"], inverse: Map
) -> Float[Tensor, " batch"]:
    r"""Compute the relative distance of each output from the phi-span, before the activation; in [0, 1].

    The phi-span of X is :math:`\{\phi(v) : v \in \operatorname{span} \phi^{-1}(X)\}` (Section 2 of the paper). With P
    the orthogonal projection onto :math:`\operatorname{span} \phi^{-1}(X)` and :math:`v = \phi^{-1}(y)`, this is
    :math:`\|v - P v\|_2 / \|v\|_2`, 0 where v = 0. A one-layer autoencoder :math:`\phi(A x)` trained from zero has
    residual 0 for every input (the corollary of Theorem 1). With ``inverse`` the identity it is
    :func:`memzoo.metrics.span_residual`.

    The inverse magnifies rounding where phi is flat: in float32 a sigmoid's output of 0.999 fixes its preimage to 6e-5,
    one of 0.99999 to 6e-3. Compute saturated outputs in float64.

    Args:
        outputs: Outputs of the autoencoder for any inputs, after phi.
        examples: Training examples, inside the open range of phi.
        inverse: :math:`\phi^{-1}`, elementwise, on float64: ``torch.logit`` for the sigmoid, ``torch.atanh`` for tanh.

    Returns:
        Residuals in float64; NaN for an output that is not finite. Time O(n d min(n, d)) for the span and
        O(B d min(n, d)) for the outputs.

    Raises:
        NonFiniteError: The examples hold NaN or infinity.
        ValueError: An output or an example lies outside the open range of phi, where ``inverse`` is not finite; outputs
            and examples have different shapes; or ``inverse`` is not elementwise.

    Example:
        >>> examples = torch.tensor([[1.0, 0.0]]).sigmoid()
        >>> phi_span_residual(torch.tensor([[3.0, 4.0], [-5.0, 0.0]]).sigmoid(), examples, torch.logit)
        tensor([0.8000, 0.0000], dtype=torch.float64)
    """
    check_same_shape(outputs, examples, "outputs and examples")
    basis = _phi_span_basis(examples, inverse)
    return measure_residual(basis, _compute_preimages(outputs, inverse, "outputs"))


def _phi_span_basis(examples: Tensor, inverse: Map) -> Tensor:
    """Compute orthonormal rows that span the preimages, beyond what rounding of the examples changes in them."""
    check_batch(examples, "examples")
    examples = examples.detach()
    v = _compute_preimages(examples, inverse, "examples")
    # The error is the change by one unit of rounding towards 0, or nothing where that leaves the range of phi.
    rounded = examples.double() * (1 - torch.finfo(examples.dtype).eps)
    noise = (inverse(rounded).flatten(1) - v).norm()
    return find_basis(v, torch.where(noise.isfinite(), noise, 0.0))


def _compute_preimages(points: Tensor, inverse: Map, name: str) -> Float[Tensor, "batch d"]:
    """Compute ``inverse(points)`` in float64, one row a point; refuse a finite point without a finite preimage."""
    v = inverse(points.double())
    if not isinstance(v, Tensor) or v.shape != points.shape:
        result = tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__
        raise InvalidArgumentError(
            f"inverse must map each coordinate alone, but {tuple(points.shape)} became {result}; pass an elementwise "
            "function such as torch.logit."
        )
    outside = points.isfinite() & ~v.isfinite()
    if outside.any():
        worst = points[outside]
        raise InvalidArgumentError(
            f"{name} must lie inside the open range of phi, but {len(worst)} of {points.numel()} values have no finite "
            f"preimage, from {worst.min():g} to {worst.max():g}; a saturated output rounds to the end of the range: "
            "compute it in float64, and scale the data into the range."
        )
    return v.flatten(1)


@final
class PhiSpanResidual(RowMean):
    """Average :func:`phi_span_residual` over batches and processes; NaN before the first row.

    Args:
        examples: Training examples, inside the open range of phi; their span is computed once.
        inverse: Inverse of the activation, elementwise. A function with a name can be pickled, a lambda cannot.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = PhiSpanResidual(torch.tensor([[1.0, 0.0]]).sigmoid(), torch.logit)
        >>> metric.update(torch.tensor([[3.0, 4.0], [-5.0, 0.0]]).sigmoid())
        >>> metric.compute()
        tensor(0.4000, dtype=torch.float64)
    """

    plot_upper_bound: float | None = 1.0

    def __init__(self, examples: Float[Tensor, "n *shape"], inverse: Map, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inverse = inverse
        self.examples = examples
        self._basis = _phi_span_basis(examples, inverse)

    def update(self, outputs: Float[Tensor, "batch *shape"]) -> None:
        """Add a batch of outputs ``(B, *shape)``."""
        check_same_shape(outputs, self.examples, "outputs and examples")
        self._basis = self._basis.to(outputs.device)
        preimages = _compute_preimages(outputs.detach(), self.inverse, "outputs")
        self.add(measure_residual(self._basis, preimages))
