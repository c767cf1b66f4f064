"""Find leading eigenvalues and the largest singular value by products with the matrix alone, for a batch of matrices.

The methods grow an orthonormal basis V of a Krylov space and solve the small projected problem: Arnoldi (The principle
of minimized iterations in the solution of the matrix eigenvalue problem, 1951) for eigenvalues, Golub and Kahan (1965)
for singular values, Saad and Schultz (GMRES, 1986) for linear systems.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from memzoo._types import Map

CHECK_EVERY = 4
"""Steps between two tests of convergence."""
MOST_COLUMNS = 200
"""Columns of a basis at most, unless many eigenvalues are wanted."""


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenvalues and eigenvectors from a Krylov space, one row a matrix."""

    values: Complex[Tensor, "batch top"]
    """Ritz values, largest modulus first."""
    vectors: Complex[Tensor, "batch dim top"]
    """Ritz vectors of length 1."""
    residual: Float[Tensor, "batch top"]
    r"""Length of :math:`A v - \lambda v`: A is that far from a matrix with exactly this eigenvalue."""


def compute_ritz_pairs(
    product: Map,
    start: Float[Tensor, "batch dim block"],
    top: int,
    tol: float,
    near: Complex[Tensor, " batch"] | None = None,
) -> RitzPairs:
    r"""Compute the ``top`` eigenvalues of largest modulus by the block Arnoldi method.

    A single start vector shows an eigenvalue of any multiplicity once; a block of b shows up to b copies. All matrices
    grow their spaces together, so one product serves them all. New directions are orthogonalised twice against the
    basis. A direction that is exhausted is replaced by a random one, which also reaches what the start was orthogonal
    to.

    Args:
        product: A v for stacks (m, batch, dim) of vectors.
        start: Block of start vectors.
        top: Number of wanted eigenvalues.
        tol: Stop when every wanted residual is below ``tol`` times the first modulus.
        near: If given, find the eigenvalues nearest to this one instead, and stop when the first of them has converged.

    Returns:
        Values that have not converged after 200 columns (or six for each wanted one) carry their residual like the
        others.
    """
    batch, dim, block = start.shape
    tiny = torch.finfo(start.dtype).tiny
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(start).Q
    images = _apply(product, basis)
    most_columns = min(dim, max(MOST_COLUMNS, 6 * top))
    step = 0
    while True:
        step += 1
        full = basis.shape[-1] + block > most_columns
        if full or step % CHECK_EVERY == 0:
            pairs = _project(basis, images, top, near)
            radius = pairs.values[:, :1].abs().clamp(min=tiny)
            wanted = pairs.residual if near is None else pairs.residual[:, :1]
            if full or (wanted <= tol * radius).all():
                return pairs
        # Extend the Krylov space by A times its newest columns.
        last = images[..., -block:]
        scale = torch.linalg.vector_norm(last, dim=-2, keepdim=True)
        fresh = torch.randn(batch, dim, block, generator=generator, dtype=torch.float64).to(start)
        fresh /= dim**0.5
        new = _orthogonalise(basis, last)
        exhausted = torch.linalg.vector_norm(new, dim=-2, keepdim=True) <= 1e-10 * scale
        new = torch.where(exhausted, fresh, new / scale.clamp(min=tiny))
        for _ in range(2):
            new = torch.linalg.qr(_orthogonalise(basis, new)).Q
        basis = torch.cat([basis, new], -1)
        images = torch.cat([images, _apply(product, new)], -1)


def compute_largest_singular_value(
    push: Map, pull: Map, start: Float[Tensor, "batch dim"], tol: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Compute the largest singular value, from below, and its right vector by Golub-Kahan bidiagonalisation.

    Stops when two steps together add less than ``tol``.
    """
    right = (start / torch.linalg.vector_norm(start, dim=-1, keepdim=True)).unsqueeze(-1)
    images = _apply(push, right)
    norms = [torch.linalg.matrix_norm(images, ord=2)]
    for _ in range(min(50, start.shape[-1]) - 1):
        new = _extend(right, _apply(pull, images[..., -1:]))
        right = torch.cat([right, new], -1)
        images = torch.cat([images, _apply(push, new)], -1)
        norms.append(torch.linalg.matrix_norm(images, ord=2))
        if len(norms) > 2 and (norms[-1] <= (1 + tol) * norms[-3]).all():
            break
    # A V = U S W^T: the right singular vector of A is V w
    _, values, coefficients = torch.linalg.svd(images, full_matrices=False)
    return values[..., 0], (right @ coefficients[..., :1, :].mT).squeeze(-1)


def solve_shifted(product: Map, right_side: Float[Tensor, "batch dim"], steps: int = 60) -> Tensor:
    """Solve x - A x = right_side by least squares over a Krylov space of at most ``steps`` columns (GMRES)."""
    target = right_side.unsqueeze(-1)
    length = torch.linalg.vector_norm(right_side, dim=-1)[:, None, None]
    length = length.clamp(min=torch.finfo(right_side.dtype).tiny)
    basis = target / length
    images = _apply(product, basis)
    most_columns = min(steps, basis.shape[-2])
    while True:
        # x = V y with the y that minimises |b - (V - A V) y|
        shifted = basis - images
        coefficients = torch.linalg.lstsq(shifted, target).solution
        gap = torch.linalg.vector_norm(target - shifted @ coefficients, dim=(-2, -1))
        if basis.shape[-1] >= most_columns or (gap <= 1e-10 * length.flatten()).all():
            return (basis @ coefficients).squeeze(-1)
        new = _extend(basis, images[..., -1:])
        basis = torch.cat([basis, new], -1)
        images = torch.cat([images, _apply(product, new)], -1)


def _apply(product: Map, columns: Tensor) -> Tensor:
    """Apply a product for stacks of vectors to the columns of a matrix."""
    return product(columns.movedim(-1, 0)).movedim(0, -1)


def _orthogonalise(basis: Tensor, columns: Tensor) -> Tensor:
    """Remove from ``columns`` their projection to the orthonormal ``basis``."""
    return columns - basis @ (basis.mT @ columns)


def _extend(basis: Tensor, column: Tensor) -> Tensor:
    """Compute the unit vector by which ``column`` extends the basis."""
    # Rounding leaves a part of the basis after one pass; the second removes it ("twice is enough", Kahan).
    new = _orthogonalise(basis, _orthogonalise(basis, column))
    length = torch.linalg.vector_norm(new, dim=-2, keepdim=True)
    return new / length.clamp(min=torch.finfo(column.dtype).tiny)


def _project(basis: Tensor, images: Tensor, top: int, near: Tensor | None) -> RitzPairs:
    """Compute the Ritz pairs: the eigenvalues of V^T A V, and its eigenvectors mapped by V."""
    values, coefficients = torch.linalg.eig((basis.mT @ images).cpu())  # a small one is slow on a GPU
    values = values.to(basis.device)
    coefficients = coefficients.to(basis.device)
    rank = -values.abs() if near is None else (values - near[:, None]).abs()
    order = rank.argsort(-1)[:, :top]
    values = values.gather(-1, order)
    coefficients = coefficients.gather(-1, order.unsqueeze(-2).expand(-1, coefficients.shape[-2], -1))
    vectors = basis.to(values.dtype) @ coefficients
    length = torch.linalg.vector_norm(vectors, dim=-2)
    gap = images.to(values.dtype) @ coefficients - vectors * values.unsqueeze(-2)
    residual = torch.linalg.vector_norm(gap, dim=-2) / length
    return RitzPairs(values, vectors / length.unsqueeze(-2), residual)
