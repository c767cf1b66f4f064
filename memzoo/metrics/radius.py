"""The contraction of a map at many points: the largest spectral radius, the mean radius, or the share below 1."""

from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch
from memzoo.dynamics.spectra import build_factors, compute_full_spectrum, find_triangular
from memzoo.errors import InvalidArgumentError
from memzoo.metrics.exact_metric import ExactMetric

Reduction = Literal["max", "mean", "contracting"]


def spectral_radius(matrices: Float[Tensor, "batch d d"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    r"""Compute the largest modulus of an eigenvalue of each matrix, and a bound on its error, in float64.

    Both are dimensionless. This is for Jacobians that are already computed; for a map,
    :func:`memzoo.dynamics.spectrum` finds the radius without forming them. The bound covers the rounding of the
    eigensolve, which a defective matrix magnifies, and not the rounding of the entries given.

    At a fixed point a radius below 1 makes an attractor (Theorem 2 of the paper); at any other point it says nothing.

    Args:
        matrices: One matrix a row.

    Returns:
        ``(radius, error)``, as :meth:`SpectralRadius.update` takes them. Time O(B d^3).

    Raises:
        NonFiniteError: A matrix holds NaN or infinity.
        ValueError: The matrices are not square.

    Example:
        >>> radius, error = spectral_radius(torch.tensor([[[0.0, -0.5], [0.5, 0.0]]]))
        >>> radius, error < 1e-12
        (tensor([0.5000], dtype=torch.float64), tensor([True]))
    """
    check_batch(matrices, "matrices")
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise InvalidArgumentError(
            f"matrices must be square (B, d, d), got shape {tuple(matrices.shape)}; one wants matrix[None]."
        )
    factors = build_factors(torch.finfo(torch.float64).eps, matrices.detach().double())
    found = compute_full_spectrum(
        factors,
        "dense",
        None,
        vectors=False,
        transient=False,
        find_triangular=lambda rows: find_triangular(factors.left[rows]),  # the zeros of a given matrix are exact
    )
    return found.radius, found.radius_error


@final
class SpectralRadius(ExactMetric):
    """Reduce the spectral radii at many points, over batches and processes; NaN before the first radius.

    ``"max"`` is the largest radius and ``"mean"`` the mean; a NaN among the radii makes both NaN. ``"contracting"`` is
    the share of radii that are below 1 by more than their error bound, in [0, 1]. NaN counts as not contracting, so the
    radii of :func:`memzoo.dynamics.certify`, which are NaN if there is no fixed point, can be given directly. It is
    not the share of attractors, which must also be fixed points at their examples. There is no median, since it cannot
    be merged from parts; take it of the radii themselves.

    Args:
        reduce: One of the three.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> from memzoo.dynamics import spectrum
        >>> found = spectrum(torch.sin, torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
        >>> metric = SpectralRadius(reduce="contracting")
        >>> metric.update(found.radius, found.radius_error)  # 1 and cos(1)
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    largest: Tensor
    total: Tensor
    contracting: Tensor
    count: Tensor

    def __init__(self, *, reduce: Reduction = "max", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if reduce not in ("max", "mean", "contracting"):
            raise InvalidArgumentError(f"reduce must be 'max', 'mean' or 'contracting', got {reduce!r}.")
        self.reduce: Reduction = reduce
        self.add_state("largest", torch.tensor(-torch.inf, dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("contracting", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Tell whether the value is a share of contracting points, rather than a radius."""
        return self.reduce == "contracting"

    @property
    def plot_upper_bound(self) -> float | None:  # type: ignore[override]
        """Return 1 for a share, and None for a radius, which has no bound."""
        return 1.0 if self.reduce == "contracting" else None

    def update(self, radius: Float[Tensor, " batch"], error: Float[Tensor, " batch"] | None = None) -> None:
        """Add a batch of radii, with the bounds on their errors; 0 when left out."""
        if error is None:
            error = torch.zeros_like(radius)
        if radius.ndim != 1 or error.shape != radius.shape:
            raise InvalidArgumentError(
                "radius and error must be vectors of one length, got shapes "
                f"{tuple(radius.shape)} and {tuple(error.shape)}; spectral_radius gives both for matrices."
            )
        radius = radius.detach().double()
        error = error.detach().double()
        if (radius < 0).any() or (error < 0).any():
            raise InvalidArgumentError(
                f"radius and error must be >= 0, the smallest are {radius.amin():g} and {error.amin():g}; pass moduli "
                "of eigenvalues."
            )
        # amax propagates NaN, as the largest radius should.
        self.largest = torch.cat([self.largest[None], radius]).amax()
        self.total = self.total + radius.sum()
        # NaN < 1 is False: NaN counts as not contracting.
        self.contracting = self.contracting + (radius + error < 1).sum()
        self.count = self.count + len(radius)

    def compute(self) -> Float[Tensor, ""]:
        """Compute the reduced value, in float64."""
        if self.reduce == "max":
            return torch.where(self.count > 0, self.largest, torch.nan)
        total = self.total if self.reduce == "mean" else self.contracting.double()
        return total / self.count
