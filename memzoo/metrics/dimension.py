"""The number of directions that a map keeps: eigenvalues of its Jacobian above a threshold, and their mean."""

from typing import final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from memzoo._checks import check_batch
from memzoo.dynamics.spectra import build_factors, check_threshold, compute_full_spectrum
from memzoo.errors import InvalidArgumentError
from memzoo.metrics.row_mean import RowMean


def local_dimension(
    matrices: Float[Tensor, "batch d d"], above: float = 0.5
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Count the eigenvalues of each matrix whose modulus is above a threshold, in float64.

    This is for Jacobians that are already computed; for a map, :func:`memzoo.dynamics.local_dimension` counts without
    forming them. The rounding of the eigensolve is covered, not that of the entries given.

    Args:
        matrices: One matrix a row.
        above: Threshold, above 0.

    Returns:
        ``(count, undecided)``: eigenvalues that are proven to be above, and those that may or may not be.
            Time O(B d^3).

    Raises:
        NonFiniteError: A matrix holds NaN or infinity.
        ValueError: The matrices are not square, or ``above`` is not a finite number above 0.

    Example:
        >>> count, undecided = local_dimension(torch.diag(torch.tensor([1.0, -0.8, 0.5, 0.2]))[None])
        >>> count, undecided
        (tensor([2.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
    """
    check_batch(matrices, "matrices")
    check_threshold(above)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise InvalidArgumentError(
            f"matrices must be square (B, d, d), got shape {tuple(matrices.shape)}; one wants matrix[None]."
        )
    factors = build_factors(torch.finfo(torch.float64).eps, matrices.detach().double())
    found = compute_full_spectrum(factors, "dense", None, vectors=False, transient=False, above=above)
    assert found.count_outside is not None
    least, most = found.count_outside.unbind(1)
    return least, most - least


@final
class LocalDimension(RowMean):
    """Average the local dimensions at many points, over batches and processes; NaN before the first point.

    An eigenvalue that is undecided counts as not above, so that the mean is a lower bound.

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> from memzoo.dynamics import local_dimension
        >>> metric = LocalDimension()
        >>> metric.update(local_dimension(torch.sin, torch.tensor([[0.0, 0.5], [0.1, 1.5]])).count)
        >>> metric.compute()
        tensor(1.5000, dtype=torch.float64)
    """

    higher_is_better: bool | None = None

    def update(self, count: Shaped[Tensor, " batch"]) -> None:
        """Add the counts at some points."""
        if count.ndim != 1 or (count < 0).any():
            raise InvalidArgumentError(
                f"count must be a vector of numbers >= 0, got shape {tuple(count.shape)}; pass the count of "
                "memzoo.dynamics.local_dimension."
            )
        self.add(count.detach())
