"""Compute the leading eigenvalues of Jacobians that are nowhere narrow, from products alone.

The error of an eigenvalue is at most its condition number times its residual, to first order (Saad, Numerical Methods
for Large Eigenvalue Problems, 2nd edition, chapter 3); the condition follows from the eigenvectors of J and of its
transpose.
"""

import contextlib
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from memzoo.dynamics.spectra.arnoldi import RitzPairs, compute_largest_singular_value, compute_ritz_pairs
from memzoo.dynamics.spectra.derivatives import Products
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.spectrum import Spectrum

SAME = 1e-4
"""Relative distance below which two Ritz values are one eigenvalue."""
TOLERANCE = 1e-5
"""Residual relative to the radius; the eigenvalue is off by the square of it where both sides are known."""


def compute_leading_spectrum(jacobians: Jacobians, x: Tensor, top: int, *, vectors: bool) -> Spectrum:
    """Compute the ``top`` eigenvalues of largest modulus in Krylov spaces of J, their conditions in those of J^T.

    Single precision finds them first if the map could be traced; vectors, residuals and values are then computed in
    double. The bound on the radius holds for the eigenvalue found. That none of larger modulus was missed rests on the
    random start of the space.
    """
    dim = jacobians.dim
    top = min(top, dim)
    block = min(max(2, min(top, 4)), dim)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(x), dim, block, generator=generator, dtype=torch.float64).to(x.device)
    solver = _choose_precisions(jacobians, x)
    right = solver.solve(start, top, transposed=False)
    left = solver.solve(start, block, transposed=True, near=right.values[:, 0])

    _, direction = compute_largest_singular_value(*solver.coarse, start[..., 0].to(solver.dtype))
    sigma_max = compute_largest_singular_value(*solver.fine, direction.to(jacobians.dtype))[0].double()
    condition = _compute_condition(right, left)
    unconverged = right.residual > 1e3 * TOLERANCE * right.values[:, :1].abs()
    if unconverged.any():
        warnings.warn(
            f"{int(unconverged.sum())} of {unconverged.numel()} eigenvalues have not converged; ask for fewer by top=, "
            "or take method='dense'.",
            stacklevel=4,
        )
    rounding = jacobians.eps * dim**0.5 * sigma_max
    # |lambda - true eigenvalue| <= condition * (residual + rounding of the products), to first order
    error = condition * (right.residual[:, 0] + rounding)
    return Spectrum(
        eigenvalues=right.values.to(torch.complex128),
        radius=right.values[:, 0].abs().double(),
        radius_error=error.nan_to_num(nan=0.0, posinf=torch.inf).double(),
        sigma_max=sigma_max,
        condition=condition.double(),
        transient_growth=None,
        vectors=right.vectors if vectors else None,
        method="arnoldi",
    )


def _compute_condition(right: RitzPairs, left: RitzPairs) -> Tensor:
    """Compute the condition of the first eigenvalue from the left eigenvectors, those of J^T, of the same value.

    If the eigenvalue is multiple, any right vector may have been found; its dual is the nearest vector in the span of
    the left ones. The condition is 1 / cosine of the angle between the two.
    """
    value = right.values[:, :1]
    vector = right.vectors[..., :1]
    same = (left.values - value).abs() <= SAME * value.abs()
    span = torch.where(same[:, None], left.vectors, 0.0).conj()
    nearest = span @ (torch.linalg.pinv(span, rtol=1e-6) @ vector)
    cosine = torch.linalg.vector_norm(nearest, dim=(-2, -1))
    return torch.where(same.any(1), 1 / cosine, torch.inf).clamp(min=1)


@dataclass(frozen=True)
class _EigenvalueSolver:
    """Find eigenvalues at the points ``x`` by cheap products and refine them by exact ones."""

    jacobians: Jacobians
    x: Tensor
    fine: Products
    coarse: Products
    dtype: torch.dtype
    """Type of the coarse products; that of the Jacobians if there are no cheaper ones."""

    def solve(self, start: Tensor, top: int, *, transposed: bool, near: Tensor | None = None) -> RitzPairs:
        """Compute Ritz pairs in single precision and refine them in double; again in double if they do not hold.

        A pre-activation near a kink may fall on the other side of it in single precision, where the Jacobian differs.
        """
        start = start.to(self.dtype)
        found = compute_ritz_pairs(self.coarse[transposed], start, top, TOLERANCE, near)
        if self.dtype == self.jacobians.dtype:
            return found
        refined = self._refine(found, transposed=transposed)
        wanted = refined.residual if near is None else refined.residual[:, :1]
        sound = (wanted <= 2 * TOLERANCE * refined.values[:, :1].abs()).all(1)
        wrong = (~sound).nonzero().flatten()
        if len(wrong):
            first = refined.vectors[wrong].real[..., :1]
            start = torch.cat([first, start[wrong, :, 1:].to(self.jacobians.dtype)], -1)
            product = self.jacobians.form_products(self.x[wrong])[transposed]
            target = None if near is None else near[wrong]
            again = compute_ritz_pairs(product, start, top, TOLERANCE, target)
            refined.values[wrong] = again.values
            refined.vectors[wrong] = again.vectors
            refined.residual[wrong] = again.residual
        return refined

    def _refine(self, pairs: RitzPairs, *, transposed: bool) -> RitzPairs:
        """Compute the Rayleigh quotients and the residuals of the vectors by exact products."""
        parts = torch.cat([pairs.vectors.real, pairs.vectors.imag], -1).to(self.jacobians.dtype)
        product_parts = self.fine[transposed](parts.movedim(-1, 0)).movedim(0, -1)
        vectors = torch.complex(*parts.chunk(2, -1))
        images = torch.complex(*product_parts.chunk(2, -1))
        # Rayleigh quotient v* A v / v* v
        square = torch.linalg.vector_norm(vectors, dim=-2, keepdim=True).square()
        values = (vectors.conj() * images).sum(-2, keepdim=True) / square
        residual = torch.linalg.vector_norm(images - values * vectors, dim=-2)
        return RitzPairs(values.squeeze(-2), vectors / square.sqrt(), residual)


def _choose_precisions(jacobians: Jacobians, x: Tensor) -> _EigenvalueSolver:
    """Linearise the map at ``x``, also in single precision if it is a module that could be traced."""
    fine = jacobians.form_products(x)
    if isinstance(jacobians.f, nn.Module) and jacobians.graph is not None:  # constants of others cannot be cast
        with contextlib.suppress(RuntimeError):  # nor can tensors of a module that are no parameters
            coarse = jacobians.form_products(x, torch.float32)
            return _EigenvalueSolver(jacobians, x, fine, coarse, torch.float32)
    return _EigenvalueSolver(jacobians, x, fine, fine, jacobians.dtype)
