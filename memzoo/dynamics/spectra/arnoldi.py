"""Find leading eigenvalues and the largest singular value by products with the matrix alone, for a batch of matrices.

The methods grow an orthonormal basis V of a Krylov space and solve the small projected problem: Arnoldi (The principle
of minimized iterations in the solution of the matrix eigenvalue problem, 1951) for eigenvalues, Golub and Kahan (1965)
for singular values, Saad and Schultz (GMRES, 1986) for linear systems.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.lu import invert
from memzoo.errors import NonFiniteError

LOOK = 4
"""Steps before the first test of convergence, and between two tests at least."""
GROWTH = 1.2
"""Factor by which a space has grown until the next test: an eigensolve costs the cube of its columns."""
MOST_COLUMNS = 200
"""Columns of a basis at most, unless many eigenvalues are wanted."""
MOST_SINGULAR = 100
"""Columns of a basis at most in which the largest singular value is sought."""
SINGULAR_TOLERANCE = 1e-3
"""Relative distance within which a singular value has to lie."""
EXHAUSTED = 100
"""Rounding units of a column, of which a new direction has to be longer."""


Narrow = Callable[[Int[Tensor, " m"]], Map]
"""Returns the product with the matrices of some rows."""


@dataclass(frozen=True)
class KrylovSpace:
    """A block Krylov space of some of the matrices, and the eigenvalues of their projections to it."""

    rows: Int[Tensor, " batch"]
    """Which of the matrices these are."""
    basis: Float[Tensor, "batch dim n"]
    """Orthonormal columns; the first ones span the start."""
    images: Float[Tensor, "batch dim n"]
    """The matrix times the basis."""
    block: int
    """Columns by which one step extended the space."""
    projected: Float[Tensor, "batch n n"]
    """V^T A V, in double precision."""
    values: Complex[Tensor, "batch n"]
    """Its eigenvalues, those that were wanted first."""
    coefficients: Complex[Tensor, "batch n n"]
    """Its eigenvectors, of length 1."""


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenvalues and eigenvectors from a Krylov space, one row a matrix."""

    values: Complex[Tensor, "batch top"]
    """Ritz values, largest modulus first."""
    vectors: Complex[Tensor, "batch dim top"]
    """Ritz vectors of length 1."""
    residual: Float[Tensor, "batch top"]
    r"""Length of :math:`A v - \lambda v`: A is that far from a matrix with exactly this eigenvalue."""
    spaces: tuple[KrylovSpace, ...] = ()
    """The spaces that they come from; together they hold each row once."""
    condition: Float[Tensor, "batch top"] | None = None
    """Condition of each value in the projected matrix, where it was asked for: times the residual it is the error of
    the value, to first order and as far as the space shows."""


Found = TypeVar("Found", KrylovSpace, RitzPairs)


def count_columns(dim: int, top: int) -> int:
    """Return how many columns a basis has at most when ``top`` eigenvalues are wanted."""
    return min(dim, max(MOST_COLUMNS, 6 * top))


def compute_ritz_pairs(
    product: Map,
    start: Float[Tensor, "batch dim block"],
    top: int,
    tol: float,
    near: Complex[Tensor, " batch"] | None = None,
    *,
    narrow: Narrow | None = None,
    weighted: bool = False,
) -> RitzPairs:
    r"""Compute the ``top`` eigenvalues of largest modulus by the block Arnoldi method.

    A single start vector shows an eigenvalue of any multiplicity once; a block of b shows up to b copies. All matrices
    grow their spaces together, so one product serves them all; a matrix whose pairs have converged leaves, so that they
    do not depend on the other matrices. New directions are orthogonalised twice against the basis. A direction that is
    exhausted is replaced by a random one, which also reaches what the start was orthogonal to.

    Args:
        product: A v for stacks (m, batch, dim) of vectors.
        start: Block of start vectors.
        top: Number of wanted eigenvalues.
        tol: Stop when every wanted residual is below ``tol`` times the first modulus.
        near: If given, find the eigenvalues nearest to this one instead, and stop when the first of them has converged.
        narrow: Returns the product with some of the matrices, given by their rows. When left out, matrices that have
            left are multiplied by zero.
        weighted: Multiply the residuals by the conditions of the values before they are compared with ``tol``.

    Returns:
        Values that have not converged after 200 columns (or six for each wanted one) carry their residual like the
        others.
    """
    batch, dim, block = start.shape
    tiny = torch.finfo(start.dtype).tiny
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(start).Q
    images = _apply(product, basis)
    most_columns = count_columns(dim, top)
    rows = torch.arange(batch, device=start.device)
    shrinking = _ShrinkingProduct(product, batch, narrow)
    spaces: list[KrylovSpace] = []
    found: list[RitzPairs] = []
    look = LOOK * block
    while True:
        full = basis.shape[-1] + block > most_columns
        if full or basis.shape[-1] >= look:
            look = max(basis.shape[-1] + LOOK * block, int(GROWTH * basis.shape[-1]))
            space = _project(basis, images, block, None if near is None else near[rows])
            pairs = _form_pairs(space, top)
            radius = pairs.values[:, :1].abs().clamp(min=tiny)
            wanted = pairs.residual if near is None else pairs.residual[:, :1]
            if weighted:
                condition = _compute_projected_condition(space, top)
                pairs = replace(pairs, condition=condition)
                wanted = pairs.residual * condition
            converged = (wanted <= tol * radius).all(1) | full
            if converged.any():
                spaces.append(replace(_select(space, converged), rows=rows[converged]))
                found.append(_select(pairs, converged))
                if converged.all():
                    return _join_pairs(spaces, found)
                rows = rows[~converged]
                basis = basis[~converged]
                images = images[~converged]
        # Extend the Krylov space by A times its newest columns.
        last = images[..., -block:]
        scale = torch.linalg.vector_norm(last, dim=-2, keepdim=True)
        # The same for all rows: none depends on its place in the batch.
        fresh = torch.randn(dim, block, generator=generator, dtype=torch.float64).to(start) / dim**0.5
        new = _orthogonalise(basis, last)
        exhausted = torch.linalg.vector_norm(new, dim=-2, keepdim=True) <= 1e-10 * scale
        new = torch.where(exhausted, fresh, new / scale.clamp(min=tiny))
        for _ in range(2):
            new = torch.linalg.qr(_orthogonalise(basis, new)).Q
        basis = torch.cat([basis, new], -1)
        images = torch.cat([images, _apply(lambda v, rows=rows: shrinking.multiply(v, rows), new)], -1)


def compute_largest_singular_value(
    push: Map, pull: Map, start: Float[Tensor, "batch dim"], tol: float = SINGULAR_TOLERANCE
) -> tuple[Tensor, Tensor]:
    """Compute the largest singular value, from below, and its right vector by Golub-Kahan bidiagonalisation.

    A singular value of A lies within ``norm(A^T A v - s^2 v) / s`` of the value s that is found, with its vector v, and
    within half of that up to second order. It stops where this is at most ``tol * s`` at all points, or after
    ``MOST_SINGULAR`` steps.
    """
    right = (start / torch.linalg.vector_norm(start, dim=-1, keepdim=True)).unsqueeze(-1)
    images = _apply(push, right)
    back = _apply(pull, images)
    for _ in range(min(MOST_SINGULAR, start.shape[-1]) - 1):
        new = _extend(right, back[..., -1:])
        right = torch.cat([right, new], -1)
        images = torch.cat([images, _apply(push, new)], -1)
        back = torch.cat([back, _apply(pull, images[..., -1:])], -1)
        value, vector = _find_largest(images)
        residual = torch.linalg.vector_norm((back - value.square() * right) @ vector, dim=(-2, -1))
        if (residual <= tol * value.flatten().square()).all():
            break
    value, vector = _find_largest(images)
    return value.flatten(), (right @ vector).squeeze(-1)


def _find_largest(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest singular value (B, 1, 1) of each matrix, and its right vector (B, columns, 1)."""
    # A V = U S W^T: the right singular vector of A is V w
    _, values, coefficients = torch.linalg.svd(images, full_matrices=False)
    return values[..., :1, None], coefficients[..., :1, :].mT


def solve_shifted(
    product: Map,
    right_side: Float[Tensor, "batch dim"],
    steps: int = 60,
    *,
    tol: float = 1e-10,
    narrow: Narrow | None = None,
) -> Tensor:
    """Solve x - A x = right_side by least squares over a Krylov space of at most ``steps`` columns (GMRES).

    Args:
        product: A v for stacks (m, batch, dim) of vectors.
        right_side: Right sides; one of zero has the solution zero.
        steps: Most columns.
        tol: A matrix leaves when what its solution leaves of the right side is shorter than this share of it.
        narrow: As in :func:`compute_ritz_pairs`.
    """
    solution = torch.zeros_like(right_side)
    length = torch.linalg.vector_norm(right_side, dim=-1)
    rows = (length > 0).nonzero().flatten()
    if not len(rows):
        return solution
    shrinking = _ShrinkingProduct(product, len(right_side), narrow)
    basis = (right_side[rows] / length[rows, None]).unsqueeze(-1)
    shifted = basis[..., :0]
    most_columns = min(steps, right_side.shape[-1])
    while True:
        image = _apply(lambda v, rows=rows: shrinking.multiply(v, rows), basis[..., -1:])
        shifted = torch.cat([shifted, basis[..., -1:] - image], -1)
        new = _extend(basis, shifted[..., -1:])
        # x = V y with the y that minimises |b - (V - A V) y|: both b and V - A V lie in the span of the next basis W.
        wider = torch.cat([basis, new], -1)
        projected = wider.mT @ shifted
        target = torch.zeros_like(projected[..., :1])
        target[:, 0] = 1
        coefficients = torch.linalg.lstsq(projected, target).solution
        gap = torch.linalg.vector_norm(target - projected @ coefficients, dim=(-2, -1))
        done = (gap <= tol) | (basis.shape[-1] >= most_columns)
        if done.any():
            solution[rows[done]] = length[rows[done], None] * (basis[done] @ coefficients[done]).squeeze(-1)
            if done.all():
                return solution
            rows = rows[~done]
            wider = wider[~done]
            shifted = shifted[~done]
        basis = wider


class _ShrinkingProduct:
    """Multiply ever fewer of some matrices.

    To narrow a product costs about as much as to use it a few times. It is done as soon as half of its matrices have
    left; until then they are multiplied by zero.
    """

    def __init__(self, product: Map, batch: int, narrow: Narrow | None) -> None:
        self._product = product
        self._batch = batch
        self._narrow = narrow
        self._held: Tensor | None = None
        """Rows of the matrices that the product still multiplies; None for all."""

    def multiply(self, v: Tensor, rows: Int[Tensor, " m"]) -> Tensor:
        """Multiply vectors (k, m, dim) by the matrices of these rows, which were all among those of the last call."""
        count = self._batch if self._held is None else len(self._held)
        if self._narrow is not None and 2 * len(rows) <= count:
            self._product = self._narrow(rows)
            self._held = rows
            count = len(rows)
        if len(rows) == count:
            return self._product(v)
        places = rows if self._held is None else torch.searchsorted(self._held, rows)
        whole = v.new_zeros(len(v), count, v.shape[-1])
        whole[:, places] = v
        return self._product(whole)[:, places]


def _apply(product: Map, columns: Tensor) -> Tensor:
    """Apply a product for stacks of vectors to the columns of a matrix."""
    return product(columns.movedim(-1, 0)).movedim(0, -1)


def _orthogonalise(basis: Tensor, columns: Tensor) -> Tensor:
    """Remove from ``columns`` their projection to the orthonormal ``basis``."""
    return columns - basis @ (basis.mT @ columns)


def _extend(basis: Tensor, column: Tensor) -> Tensor:
    """Compute the unit vector by which ``column`` extends the basis; zero where it lies in the basis up to rounding."""
    # Rounding leaves a part of the basis after one pass; the second removes it ("twice is enough", Kahan).
    new = _orthogonalise(basis, _orthogonalise(basis, column))
    length = torch.linalg.vector_norm(new, dim=-2, keepdim=True)
    # What is left of a column in the basis is rounding, which is not orthogonal to anything.
    room = EXHAUSTED * torch.finfo(column.dtype).eps * torch.linalg.vector_norm(column, dim=-2, keepdim=True)
    return torch.where(length > room, new / length.clamp(min=torch.finfo(column.dtype).tiny), 0.0)


def _select(found: Found, chosen: Tensor) -> Found:
    """Return what was found of the matrices that are ``chosen``."""
    return replace(found, **{name: value[chosen] for name, value in vars(found).items() if isinstance(value, Tensor)})


def _join_pairs(spaces: Sequence[KrylovSpace], found: Sequence[RitzPairs]) -> RitzPairs:
    """Put the pairs of all matrices into their order."""
    order = torch.cat([space.rows for space in spaces]).argsort()
    names = [name for name, value in vars(found[0]).items() if isinstance(value, Tensor)]
    joined = {name: torch.cat([getattr(pairs, name) for pairs in found])[order] for name in names}
    return replace(found[0], **joined, spaces=tuple(spaces))


def _compute_projected_condition(space: KrylovSpace, top: int) -> Float[Tensor, "batch top"]:
    """Compute the condition of the first eigenvalues of V^T A V; infinity where its eigenvectors are dependent."""
    # The rows of S^-1 are the left eigenvectors, and the columns of S have length 1.
    inverse, exists = invert(space.coefficients)
    condition = torch.linalg.vector_norm(inverse[..., :top, :], dim=-1)
    return torch.where(exists[:, None] & condition.isfinite(), condition, torch.inf)


def _project(basis: Tensor, images: Tensor, block: int, near: Tensor | None) -> KrylovSpace:
    """Compute the eigenvalues and eigenvectors of V^T A V, those that are wanted first."""
    projected = (basis.mT @ images).double()
    if not projected.isfinite().all():
        raise NonFiniteError("products with the Jacobian hold NaN or infinity: f overflows near this point.")
    values, coefficients = torch.linalg.eig(projected.cpu())  # a small one is slow on a GPU
    values = values.to(basis.device)
    coefficients = coefficients.to(basis.device)
    rank = -values.abs() if near is None else (values - near[:, None]).abs()
    order = rank.argsort(-1)
    values = values.gather(-1, order)
    coefficients = coefficients.gather(-1, order.unsqueeze(-2).expand_as(coefficients))
    rows = torch.arange(len(basis), device=basis.device)
    return KrylovSpace(rows, basis, images, block, projected, values, coefficients)


def _form_pairs(space: KrylovSpace, top: int) -> RitzPairs:
    """Map the first eigenvectors of V^T A V by V, and compute their residuals."""
    values = space.values[:, :top]
    coefficients = space.coefficients[..., :top]
    vectors = _combine(space.basis, coefficients)
    length = torch.linalg.vector_norm(vectors, dim=-2)
    gap = _combine(space.images, coefficients) - vectors * values.unsqueeze(-2)
    residual = torch.linalg.vector_norm(gap, dim=-2) / length
    return RitzPairs(values, vectors / length.unsqueeze(-2), residual)


def _combine(columns: Tensor, coefficients: Tensor) -> Tensor:
    """Form complex combinations of real columns, in double precision."""
    wide = columns.double()
    return torch.complex(wide @ coefficients.real, wide @ coefficients.imag)
