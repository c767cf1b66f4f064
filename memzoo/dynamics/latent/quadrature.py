r"""Estimate the trace of the logarithm of a positive matrix that is known by its products alone.

For a random vector v on the unit sphere of k dimensions, :math:`k\,v^T \log(G)\,v` has the mean :math:`\log\det G`. The
Krylov space of v turns the quadratic form into a Gauss quadrature with the Ritz values as nodes (Golub and Meurant,
Matrices, Moments and Quadrature, 1994; Ubaru, Chen and Saad, Fast estimation of tr f(A) via stochastic Lanczos
quadrature, 2017). As the even derivatives of the logarithm are negative and the odd ones positive, the Gauss rule is an
upper bound, and the Gauss-Radau rule with a node at or below the least eigenvalue a lower one.

How far the least eigenvalue can be below the least Ritz value is bounded for random starts by Kuczynski and
Wozniakowski (Estimating the largest eigenvalue by the power and Lanczos algorithms with a random start, 1992, theorem
4.2): after m steps, :math:`(\theta_{min} - \lambda_{min}) / (\lambda_{max} - \lambda_{min})` exceeds
:math:`\epsilon` with probability at most :math:`1.648 \sqrt{k}\, e^{-\sqrt{\epsilon} (2m - 1)}`.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._types import Map

MOST_STEPS = 256
"""Steps of the Lanczos process at most."""
FIRST_LOOK = 8
"""Steps until the bounds are first looked at; then after twice as many, and so on."""
NEGLIGIBLE = 0.1
"""Share of the half width of the interval that the gap between the two quadratures may have."""
MISSED = 1e-6
"""Probability that the least eigenvalue is below its bound."""
CONVERGED = 1e-6
"""Relative residual up to which a Ritz value is reported as an eigenvalue."""


@dataclass(frozen=True)
class Quadrature:
    """What the Krylov spaces of some random vectors show of a positive matrix."""

    logdet: tuple[float, float, float]
    """Estimate of the logarithm of the determinant, and the ends of its interval."""
    leading: Float[Tensor, " top"]
    """Leading eigenvalues, largest first; NaN where the Ritz value has not converged."""


def estimate_logdet(
    product: Map, starts: Float[Tensor, "n k"], top: int, rounding: float, memory: int, confidence: float
) -> Quadrature:
    """Estimate the log-determinant of a symmetric positive matrix from products with it.

    Args:
        product: G v for stacks (n, k) of vectors.
        starts: Independent standard normal vectors.
        top: Number of leading eigenvalues.
        rounding: Relative rounding of the products: an eigenvalue below this share of the largest is zero.
        memory: Bytes for the bases.
        confidence: Level of the interval.

    Returns:
        Cost: one product with each start a step, at most 256 steps or as many as the bases fit into memory.
    """
    count, dim = starts.shape
    spaces = _KrylovSpaces(product, starts)
    most_steps = min(MOST_STEPS, dim, max(2, memory // (8 * starts.numel())))
    quantile = student_quantile(confidence, count - 1)
    look = min(FIRST_LOOK, most_steps)
    while True:
        spaces.extend(look)
        values, weights = spaces.solve(spaces.diagonal, spaces.beside[:, :-1])
        least, largest = float(values.min()), float(values.max())
        if least <= rounding * largest:  # no eigenvalue is above the least Ritz value
            upper = lower = torch.full_like(values[:, 0], -torch.inf)
            break
        upper = dim * (weights * values.log()).sum(1)
        lower = torch.full_like(upper, -torch.inf)
        if look == dim:
            lower = upper
            break
        share = (math.log(1.648 * dim**0.5 / MISSED ** (1 / count)) / (2 * look - 1)) ** 2
        bound = least - share / (1 - share) * largest if share < 1 else -math.inf
        if bound > rounding * largest:
            nodes, node_weights = spaces.add_node(bound)
            lower = torch.minimum(dim * (node_weights * nodes.clamp(min=bound).log()).sum(1), upper)
        half = quantile * float(upper.std()) / count**0.5
        if look == most_steps or float((upper - lower).mean()) <= NEGLIGIBLE * half:
            break
        look = min(2 * look, most_steps)
    mean, _, high = estimate_mean(upper, confidence)
    return Quadrature((mean, estimate_mean(lower, confidence)[1], high), spaces.list_leading(top))


def estimate_mean(samples: Float[Tensor, " n"], confidence: float) -> tuple[float, float, float]:
    """Estimate the mean of the distribution that the samples come from, with Student's interval."""
    mean = float(samples.mean())
    half = 0.0
    if math.isfinite(mean):
        half = student_quantile(confidence, len(samples) - 1) * float(samples.std()) / len(samples) ** 0.5
    return mean, mean - half, mean + half


def student_quantile(confidence: float, freedom: int) -> float:
    """Compute the two-sided quantile of Student's law (Abramowitz and Stegun, 26.7.5); four digits from ten on."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def chi_squared_quantile(probability: float, freedom: int) -> float:
    """Compute a quantile of the chi-squared law over its mean (Wilson and Hilferty, 1931); three digits from 30 on."""
    variance = 2 / (9 * freedom)
    return max(0.0, 1 - variance + NormalDist().inv_cdf(probability) * variance**0.5) ** 3


class _KrylovSpaces:
    """Grow the Krylov spaces of several vectors under one symmetric matrix, by Lanczos with full orthogonalisation.

    Args:
        product: Products of stacks of vectors.
        starts: First vectors.
    """

    def __init__(self, product: Map, starts: Float[Tensor, "n k"]) -> None:
        self._product = product
        self._newest = torch.nn.functional.normalize(starts, dim=1)
        self._basis = self._newest[:, None]
        self.diagonal: Tensor = starts.new_empty(len(starts), 0)
        """Diagonal of the projected matrices, (n, m)."""
        self.beside: Tensor = starts.new_empty(len(starts), 0)
        """Entries beside the diagonal, (n, m); the last ones lead out of the space."""

    def extend(self, steps: int) -> None:
        """Grow the spaces to this number of dimensions."""
        while self.diagonal.shape[1] < steps:
            image = self._product(self._newest)
            diagonal = (image * self._newest).sum(1)
            size = torch.linalg.vector_norm(image, dim=1)
            for _ in range(2):  # twice is enough (Kahan)
                image = image - torch.einsum("nm,nmk->nk", torch.einsum("nmk,nk->nm", self._basis, image), self._basis)
            length = torch.linalg.vector_norm(image, dim=1)
            # Where a space is exhausted, the steps that follow have no weight; their values must only be harmless.
            room = 100 * torch.finfo(image.dtype).eps * torch.maximum(size, self._largest())
            length = torch.where(length > room, length, 0.0)
            self._newest = torch.where(length[:, None] > 0, image / length[:, None], 0.0)
            is_empty = torch.linalg.vector_norm(self._basis[:, -1], dim=1) == 0
            if self.diagonal.shape[1]:
                diagonal = torch.where(is_empty, self.diagonal[:, 0], diagonal)
            self.diagonal = torch.cat([self.diagonal, diagonal[:, None]], 1)
            self.beside = torch.cat([self.beside, length[:, None]], 1)
            self._basis = torch.cat([self._basis, self._newest[:, None]], 1)

    def _largest(self) -> Tensor:
        """Return the largest entry of each projected matrix so far."""
        if not self.diagonal.shape[1]:
            return torch.zeros_like(self._newest[:, 0])
        return torch.maximum(self.diagonal.abs().amax(1), self.beside.amax(1))

    @staticmethod
    def solve(diagonal: Float[Tensor, "n m"], beside: Float[Tensor, "n less"]) -> tuple[Tensor, Tensor]:
        """Compute the nodes and the weights of the quadrature of tridiagonal matrices."""
        values, vectors = torch.linalg.eigh(_form_tridiagonal(diagonal, beside))
        return values, vectors[:, 0].square()

    def add_node(self, node: float) -> tuple[Tensor, Tensor]:
        """Compute the quadrature with one more node at a given place outside of the spectrum (Gauss-Radau)."""
        matrix = _form_tridiagonal(self.diagonal, self.beside[:, :-1])
        shifted = matrix - node * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        last = torch.zeros_like(self.diagonal)
        last[:, -1] = self.beside[:, -1].square()
        shift = torch.linalg.solve(shifted, last[:, :, None])[:, -1]
        return self.solve(torch.cat([self.diagonal, node + shift], 1), self.beside)

    def list_leading(self, top: int) -> Float[Tensor, " top"]:
        """List the leading Ritz values of the first vector, NaN where they have not converged."""
        values, vectors = torch.linalg.eigh(_form_tridiagonal(self.diagonal[:1], self.beside[:1, :-1]))
        residual = (self.beside[0, -1] * vectors[0, -1]).abs()
        known = torch.where(residual <= CONVERGED * values[0], values[0], torch.nan)
        visible = vectors[0, 0].abs() > torch.finfo(values.dtype).eps  # of an exhausted space, the others mean nothing
        known = known[visible].flip(0)[:top]
        return torch.nn.functional.pad(known, (0, top - len(known)), value=torch.nan)


def _form_tridiagonal(diagonal: Float[Tensor, "n m"], beside: Float[Tensor, "n less"]) -> Float[Tensor, "n m m"]:
    """Form symmetric tridiagonal matrices."""
    off = torch.diag_embed(beside, 1)
    return torch.diag_embed(diagonal) + off + off.mT
