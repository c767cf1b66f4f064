"""The span of the training examples, computed by their singular value decomposition."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch
from memzoo.errors import InvalidArgumentError


class Span(NamedTuple):
    r"""Hold the thin decomposition :math:`X = V \operatorname{diag}(\sigma) U^T` of the examples, in float64."""

    coefficients: Float[Tensor, "n r"]
    """U: orthonormal columns, one entry an example."""
    singular_values: Float[Tensor, " r"]
    r""":math:`\sigma`, largest first, none zero; their squares are the nonzero eigenvalues of :math:`S = X X^T`."""
    basis: Float[Tensor, "d r"]
    """V: an orthonormal basis of the span."""

    @property
    def rank(self) -> int:
        """Return the dimension of the span."""
        return len(self.singular_values)

    @property
    def pseudoinverse(self) -> Float[Tensor, "n d"]:
        r"""Compute :math:`X^+ = U \operatorname{diag}(1/\sigma) V^T`."""
        return self.coefficients / self.singular_values @ self.basis.T


def check_examples(examples: Tensor) -> None:
    """Raise an error unless ``examples`` is a non-empty table ``(n, d)`` of finite floating-point numbers."""
    check_batch(examples, "examples")
    if examples.ndim != 2:
        raise InvalidArgumentError(
            f"examples must be flat, one row each (n, d), got shape {tuple(examples.shape)}; use examples.flatten(1)."
        )


def span_of(examples: Float[Tensor, "n d"]) -> Span:
    """Decompose the examples, without the directions that rounding explains.

    Rounding each entry to the dtype of ``examples`` moves the singular values by at most eps times the Frobenius norm
    (Weyl), so smaller ones are not counted: in float32 a third image that is the sum of two adds no dimension.

    Args:
        examples: One example a row.

    Returns:
        Time O(n d min(n, d)).

    Raises:
        NonFiniteError: NaN or infinity in ``examples``.
        TypeError: ``examples`` is not floating point.
        ValueError: ``examples`` is empty or not ``(n, d)``.

    Example:
        >>> span_of(torch.tensor([[3.0, 4.0], [6.0, 8.0]])).rank
        1
    """
    check_examples(examples)
    x = examples.double()
    left, singular, right = torch.linalg.svd(x, full_matrices=False)
    noise = torch.finfo(examples.dtype).eps * x.norm()
    significant = singular > rounding_floor(singular, x.shape, noise)
    return Span(left[:, significant], singular[significant], right[significant].T)


def rounding_floor(singular: Tensor, shape: torch.Size, noise: Tensor) -> Tensor:
    """Compute the value up to which singular values count as zero.

    ``noise`` is the Frobenius norm of the rounding errors in the entries.
    """
    of_decomposition = max(shape) * torch.finfo(torch.float64).eps * singular[0]
    return noise + of_decomposition
