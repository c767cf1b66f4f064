"""Leading eigenvalues and the largest singular value from products with the matrix alone, for a batch of matrices."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from memzoo._types import Map

CHECK_EVERY = 4
MOST = 200  # columns of a basis


@dataclass(frozen=True)
class Leading:
    """What :func:`leading_eigenvalues` found, one row a matrix."""

    values: Complex[Tensor, "batch top"]
    """Ritz values, largest modulus first."""
    vectors: Complex[Tensor, "batch dim top"]
    """Ritz vectors of length 1."""
    residual: Float[Tensor, "batch top"]
    r"""Length of :math:`A v - \lambda v`: A is that far from a matrix with exactly this eigenvalue."""


def leading_eigenvalues(
    product: Map,
    start: Float[Tensor, "batch dim block"],
    top: int,
    tol: float,
    near: Complex[Tensor, " batch"] | None = None,
) -> Leading:
    r"""Block Arnoldi: the ``top`` eigenvalues of largest modulus in a growing Krylov space.

    A single start shows an eigenvalue of any multiplicity once; a block of b shows up to b copies. All matrices grow
    their spaces together, so a product serves them all. Orthogonalised twice against everything before; a direction
    that is exhausted is replaced by a random one, which also reaches what the start was orthogonal to.

    Args:
        product: A v for stacks (m, batch, dim) of vectors.
        start: Block of start vectors.
        top: Wanted eigenvalues.
        tol: Stop when every wanted residual is below ``tol`` times the first modulus.
        near: Rather the eigenvalues nearest to this one, and stop when the first of them has converged.

    Returns:
        Values that have not converged after 200 columns (or six for each wanted one) carry their residual like the
        others.
    """
    batch, dim, block = start.shape
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(start).Q
    images = _apply(product, basis)
    most = min(dim, max(MOST, 6 * top))
    step = 0
    while True:
        step += 1
        full = basis.shape[-1] + block > most
        if full or step % CHECK_EVERY == 0:
            found = _ritz(basis, images, top, near)
            radius = found.values[:, :1].abs().clamp(min=torch.finfo(start.dtype).tiny)
            wanted = found.residual if near is None else found.residual[:, :1]
            if full or (wanted <= tol * radius).all():
                return found
        last = images[..., -block:]
        scale = torch.linalg.vector_norm(last, dim=-2, keepdim=True)
        fresh = torch.randn(batch, dim, block, generator=generator, dtype=torch.float64).to(start)
        fresh /= dim**0.5
        new = _outside(basis, last)
        spent = torch.linalg.vector_norm(new, dim=-2, keepdim=True) <= 1e-10 * scale
        new = _outside(basis, torch.where(spent, fresh, new / scale.clamp(min=torch.finfo(start.dtype).tiny)))
        new = torch.linalg.qr(new).Q
        new = torch.linalg.qr(_outside(basis, new)).Q
        basis, images = torch.cat([basis, new], -1), torch.cat([images, _apply(product, new)], -1)


def _apply(product: Map, columns: Tensor) -> Tensor:
    return product(columns.movedim(-1, 0)).movedim(0, -1)


def _outside(basis: Tensor, columns: Tensor) -> Tensor:
    return columns - basis @ (basis.mT @ columns)


def _ritz(basis: Tensor, images: Tensor, top: int, near: Tensor | None) -> Leading:
    values, coefficients = torch.linalg.eig((basis.mT @ images).cpu())
    values, coefficients = values.to(basis.device), coefficients.to(basis.device)
    rank = -values.abs() if near is None else (values - near[:, None]).abs()
    order = rank.argsort(-1)[:, :top]
    values = values.gather(-1, order)
    coefficients = coefficients.gather(-1, order.unsqueeze(-2).expand(-1, coefficients.shape[-2], -1))
    vectors = basis.to(values.dtype) @ coefficients
    length = torch.linalg.vector_norm(vectors, dim=-2)
    gap = images.to(values.dtype) @ coefficients - vectors * values.unsqueeze(-2)
    return Leading(values, vectors / length.unsqueeze(-2), torch.linalg.vector_norm(gap, dim=-2) / length)


def largest_singular_value(
    push: Map, pull: Map, start: Float[Tensor, "batch dim"], tol: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Largest singular value and its right vector by Golub-Kahan bidiagonalisation, from below.

    Stops when two steps together add less than ``tol``.
    """
    right = (start / torch.linalg.vector_norm(start, dim=-1, keepdim=True)).unsqueeze(-1)
    images = _apply(push, right)
    found = [torch.linalg.matrix_norm(images, ord=2)]
    for _ in range(min(50, start.shape[-1]) - 1):
        new = _outside(right, _outside(right, _apply(pull, images[..., -1:])))
        length = torch.linalg.vector_norm(new, dim=-2, keepdim=True)
        new = new / length.clamp(min=torch.finfo(start.dtype).tiny)
        right, images = torch.cat([right, new], -1), torch.cat([images, _apply(push, new)], -1)
        found.append(torch.linalg.matrix_norm(images, ord=2))
        if len(found) > 2 and (found[-1] <= (1 + tol) * found[-3]).all():
            break
    _, values, coefficients = torch.linalg.svd(images, full_matrices=False)
    return values[..., 0], (right @ coefficients[..., :1, :].mT).squeeze(-1)


def solve_shifted(product: Map, right_side: Float[Tensor, "batch dim"], steps: int = 60) -> Tensor:
    """X with x - A x = right_side, least squares over a Krylov space of at most ``steps`` columns (GMRES)."""
    tiny = torch.finfo(right_side.dtype).tiny
    length = torch.linalg.vector_norm(right_side, dim=-1)[:, None, None].clamp(min=tiny)
    basis = right_side.unsqueeze(-1) / length
    images = _apply(product, basis)
    while True:
        solved = basis - images
        coefficients = torch.linalg.lstsq(solved, right_side.unsqueeze(-1)).solution
        gap = torch.linalg.vector_norm(right_side.unsqueeze(-1) - solved @ coefficients, dim=(-2, -1))
        if basis.shape[-1] >= min(steps, basis.shape[-2]) or (gap <= 1e-10 * length.flatten()).all():
            return (basis @ coefficients).squeeze(-1)
        new = _outside(basis, _outside(basis, images[..., -1:]))
        new = new / torch.linalg.vector_norm(new, dim=-2, keepdim=True).clamp(min=tiny)
        basis, images = torch.cat([basis, new], -1), torch.cat([images, _apply(product, new)], -1)
