r"""Bound the eigenvalues that a block Krylov space has not shown.

Let A V = V H + U C with the basis V of a Krylov space, and let w be a left eigenvector of A of length 1 for the
eigenvalue :math:`\lambda`. Then :math:`y = V^* w` satisfies :math:`y^* (\lambda - H) = w^* U C`, so that the component
of w in the start, the first block of y, is

.. math:: y_1^* = w^* U\, C (\lambda - H)^{-1} E_1.

The right side is known, and small for every :math:`\lambda` that the space would have shown. The left side is the
projection of a fixed vector to a random subspace of b dimensions in d. Its square has the distribution
Beta(b/2, (d - b)/2): the probability that it is tiny is known in closed form. An eigenvalue is therefore hidden at
:math:`\lambda` only with that probability. The argument holds for all eigenvalues on which the right side is small at
once, for matrices that are not normal, and for defective ones. Kuczynski and Wozniakowski (Estimating the largest
eigenvalue by the power and Lanczos algorithms with a random start, 1992) bound symmetric matrices in the same spirit.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from memzoo.dynamics.spectra.arnoldi import KrylovSpace, RitzPairs
from memzoo.dynamics.spectra.lu import solve

MISSED = 7e-4
"""Probability that one random start misses a direction. The left and the right space have independent starts, so that
both miss the two vectors of one eigenvalue with probability 4.9e-7."""
CONVERGED = 1e-3
"""Residual of a pair, relative to the size of the matrix, below which its pole stands for itself."""
BETWEEN = 2.0
"""Allowed ratio of the largest value on a circle to the largest on the grid of angles. Of a polynomial of degree m, 4 m
points show the largest value up to a factor 1.42 (Ehlich and Zeller, 1964)."""
PEAKS = 24
"""Ritz values whose angles belong to the grid: near them the bound peaks."""
HALVINGS = 10
"""Bisections of the logarithm of the distance to the outermost Ritz value: exact to one part in twenty."""
SMALL = 1e-100
"""Size that stands for zero."""
RANGE = (-17.0, 3.0)
"""Decimal logarithms of the distances looked at, relative to the size of the matrix."""


def bound_hidden_moduli(
    pairs: RitzPairs,
    columns: int,
    noise: Float[Tensor, " batch"],
    refined: RitzPairs | None = None,
    *,
    chance: float = MISSED,
    positive: bool = False,
) -> Float[Tensor, " batch"]:
    """Bound the moduli of all eigenvalues from above, those that the Krylov space has not shown included.

    Args:
        pairs: Ritz pairs with their spaces.
        columns: Columns of the start that are random: the first ones.
        noise: Norm of the difference between the images of the basis and those under the matrix that is meant.
        refined: The same pairs with values and residuals by the matrix that is meant, if the noise is larger than they.
        chance: Probability with which a modulus may be larger.
        positive: All eigenvalues are real and not negative, those of a Gram matrix for example.

    Returns:
        Bounds; infinity where nothing is known.
    """
    upper = torch.empty_like(noise)
    for space in pairs.spaces:
        least = _find_least_component(space.basis.shape[-2], columns, chance)
        if not positive:
            # Of a complex vector, turned so that its parts are orthogonal, the longer part has at least length 0.7.
            least /= 2**0.5 * BETWEEN
        part = _expand_in_poles(space, columns, noise[space.rows])
        if refined is not None:
            part = _replace_poles(part, space, refined.values[space.rows], refined.residual[space.rows])
        angles = torch.zeros_like(noise[space.rows, None]) if positive else _choose_angles(space)
        upper[space.rows] = _find_circle(part, angles, least)
    return upper


def _find_least_component(dim: int, columns: int, chance: float) -> float:
    """Find the length below which a unit vector's projection to a random subspace lies with this probability at most.

    The density of Beta(p, q) is at most t^(p-1) / B(p, q) for q >= 1.
    """
    if columns >= dim:
        return 1.0
    columns = max(1, min(columns, dim - 2))
    p = columns / 2
    q = max(1.0, (dim - columns) / 2)
    log_beta = math.lgamma(p) + math.lgamma(q) - math.lgamma(p + q)
    return math.exp((math.log(chance * p) + log_beta) / p) ** 0.5


@dataclass(frozen=True)
class _PoleSum:
    """What the component of a hidden left eigenvector in the start can be at most, as a function of its eigenvalue."""

    poles: Complex[Tensor, "batch n"]
    """Ritz values."""
    shown: Float[Tensor, "batch n"]
    """Numerators of the poles whose residuals are known; those of the backward error of the eigensolve for others."""
    residues: Complex[Tensor, "batch block n"]
    weights: Complex[Tensor, "batch n columns"]
    """The rows of S^-1 E_1 with the eigenvectors S of H."""
    noise: Float[Tensor, " batch"]
    """Norm of what is unknown of the images of the basis."""
    vectors: Complex[Tensor, "batch n n"]
    """S; zero in the columns whose residuals are known."""
    offset: Float[Tensor, " batch"]
    """What is unknown everywhere."""
    size: Float[Tensor, " batch"]
    """Norm of the projected matrix, by which distances between eigenvalues are measured."""

    def bound_component(self, points: Complex[Tensor, "batch k"]) -> Float[Tensor, "batch k"]:
        """Bound the component at each of the points."""
        inverse = 1 / (points[..., None] - self.poles[:, None])  # (B, K, n)
        near = inverse.abs()
        terms = inverse[..., None] * self.weights[:, None]  # (B, K, n, columns)
        exact = self.residues[:, None] @ terms
        # Terms that cancel leave their rounding.
        size = torch.linalg.vector_norm(self.residues, dim=-2) + self.noise[:, None]
        rounding = torch.finfo(near.dtype).eps * near.shape[-1] * size * torch.linalg.vector_norm(self.weights, dim=-1)
        known = (near @ (self.shown + rounding)[..., None]).squeeze(-1)
        solution = torch.linalg.matrix_norm(self.vectors[:, None] @ terms)  # (lambda - H)^-1 E_1
        return torch.linalg.matrix_norm(exact) + known + self.noise[:, None] * solution + self.offset[:, None]


def _expand_in_poles(space: KrylovSpace, columns: int, noise: Tensor) -> _PoleSum:
    """Expand C (lambda - H)^-1 E_1 in the eigenvectors S of H, with all that rounding may change."""
    right = space.coefficients
    size = right.shape[-1]
    basis = space.basis.double()
    gap = space.images.double() - basis @ space.projected
    # Only the newest columns have a residual, up to rounding; U is a basis of them.
    frame = torch.linalg.qr(gap[..., -space.block :]).Q
    coupling = frame.mT @ gap
    lost = torch.linalg.matrix_norm(gap - frame @ coupling)

    start = torch.eye(size, columns, dtype=right.dtype, device=right.device).expand(len(right), -1, -1)
    weights, exists = solve(right, start)
    exists &= weights.isfinite().flatten(1).all(1)
    weights = torch.where(exists[:, None, None], weights, 0.0)
    offset = torch.linalg.matrix_norm(start - right @ weights)
    offset = torch.where(exists, offset, torch.inf)
    # The eigenvectors are those of H up to a backward error.
    eigen_gap = space.projected.to(right.dtype) @ right - right * space.values[:, None]
    backward = torch.linalg.vector_norm(eigen_gap, dim=-2) * torch.linalg.vector_norm(weights, dim=-1)
    return _PoleSum(
        poles=space.values,
        shown=backward,
        residues=coupling.to(right.dtype) @ right,
        weights=weights,
        noise=noise + lost,
        vectors=right,
        offset=offset,
        size=torch.linalg.matrix_norm(space.projected, 2),
    )


def _replace_poles(part: _PoleSum, space: KrylovSpace, values: Tensor, residual: Tensor) -> _PoleSum:
    """Take the first poles from refined pairs that have converged: their residuals bound all that is wrong with them.

    What is left of a sum of poles that cancel is larger, so that pairs that have not converged stay where they are.
    """
    top = values.shape[-1]
    converged = residual <= CONVERGED * part.size[:, None]
    # A pair and its complex conjugate have the same residual.
    twin = (space.values[:, :, None] == space.values[:, None, :top].conj()) & converged[:, None]
    poles = torch.where(twin.any(-1), (twin * values.conj()[:, None]).sum(-1), part.poles)
    numerator = (twin * residual[:, None]).sum(-1)
    poles[:, :top] = torch.where(converged, values, part.poles[:, :top])
    numerator[:, :top] = torch.where(converged, residual, 0.0)
    shown = twin.any(-1)
    shown[:, :top] = converged
    return replace(
        part,
        poles=poles,
        shown=torch.where(shown, numerator * torch.linalg.vector_norm(part.weights, dim=-1), part.shown),
        residues=torch.where(shown[:, None], 0.0, part.residues),
        vectors=torch.where(shown[:, None], 0.0, part.vectors),
    )


def _choose_angles(space: KrylovSpace) -> Tensor:
    """Choose angles on the upper half of a circle; the values on the lower half are the same, as the matrix is real."""
    degree = math.ceil(space.basis.shape[-1] / space.block)
    even = torch.linspace(0, math.pi, 2 * degree + 1, dtype=torch.float64, device=space.basis.device)
    outer = space.values.abs().argsort(-1, descending=True)[:, :PEAKS]
    peaks = space.values.gather(-1, outer).angle().abs()
    return torch.cat([even.expand(len(peaks), -1), peaks], -1)


def _find_circle(part: _PoleSum, angles: Tensor, least: float) -> Tensor:
    """Find the radius of a circle outside of which no left eigenvector has the component ``least`` in the start.

    The bound is subharmonic outside the Ritz values and vanishes at infinity: its values on a circle are the largest.
    """
    outermost = part.poles.abs().amax(-1)
    size = part.size.clamp(min=SMALL)
    direction = torch.polar(torch.ones_like(angles), angles)

    def find_radius(exponent: Tensor) -> Tensor:
        return outermost + size * 10.0**exponent

    def is_free(exponent: Tensor) -> Tensor:
        return (part.bound_component(find_radius(exponent)[:, None] * direction) < least).all(-1)

    low = torch.full_like(outermost, RANGE[0])
    high = torch.full_like(outermost, RANGE[1])
    free = is_free(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = is_free(middle)
        high = torch.where(inside, middle, high)
        low = torch.where(inside, low, middle)
    return torch.where(free, find_radius(high), torch.inf)
