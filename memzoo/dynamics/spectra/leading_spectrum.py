"""Compute the leading eigenvalues of Jacobians that are nowhere narrow, from products alone.

The radius is bounded from above by what the Krylov spaces of J and of its transpose exclude, which holds for every
matrix with a stated probability, and from below by the eigenvalue that was found. The error of that one is at most its
condition number times its residual, to first order (Saad, Numerical Methods for Large Eigenvalue Problems, 2nd edition,
chapter 3); the condition follows from the eigenvectors of J and of its transpose. Eigenvalues that are so near to each
other that they move together are counted: k of them move by at most k times as much (Demmel, Applied Numerical Linear
Algebra, theorem 4.5).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.dynamics.spectra.arnoldi import (
    Narrow,
    RitzPairs,
    compute_largest_singular_value,
    compute_ritz_pairs,
    count_columns,
)
from memzoo.dynamics.spectra.derivatives import Products
from memzoo.dynamics.spectra.hidden_eigenvalues import bound_hidden_moduli
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.scaling import find_exponents, scale_products, scale_values
from memzoo.dynamics.spectra.second_opinion import SMALL, decide_by_structure, find_undecided
from memzoo.dynamics.spectra.spectrum import Spectrum, replace_rows
from memzoo.dynamics.spectra.start_vectors import Draws, bound_norm, derive_seeds, draw_vectors

SAME = 1e-4
"""Relative distance below which two Ritz values are one eigenvalue."""
TOLERANCE = 1e-5
"""Residual relative to the radius; the eigenvalue is off by the square of it where both sides are known."""
SINGLE = 40
"""Powers of two between which single precision has room for squares and for small parts of numbers."""


def compute_leading_spectrum(
    jacobians: Jacobians,
    x: Tensor,
    top: int,
    *,
    vectors: bool,
    seed: int | None = None,
    products: Products | None = None,
) -> Spectrum:
    """Compute the ``top`` eigenvalues of largest modulus in Krylov spaces of J, their conditions in those of J^T.

    Single precision finds them first if the map could be traced; vectors, residuals and values are then computed in
    double. Points that stay undecided are looked at again in other ways.

    The bound on the radius holds with a probability of at least 1 - 1e-6 at each point: both starts miss the leading
    direction with 4.9e-7 at most, and three norms are bounded by probes that fail with 1e-7 each.
    """
    dim = jacobians.dim
    top = min(top, dim)
    block = min(max(2, min(top, 4)), dim)
    seeds = derive_seeds(jacobians.f, x, seed)
    draws = draw_vectors(seeds, dim, block, count_columns(dim, top))
    solver = _choose_precisions(jacobians, x, draws, products)
    found, converged, interval = _measure(solver, top, block, vectors=vectors)
    if solver.dtype != jacobians.dtype:
        rows = find_undecided(found)
        if len(rows) and dim > SMALL:  # the full Jacobian decides the others
            exact, converged[rows], interval[:, rows] = _measure(solver.select_exact(rows), top, block, vectors=vectors)
            found = replace_rows(found, rows, exact)
    rounding = solver.bound_rounding(scale_values(found.sigma_max, -solver.exponents))
    found, settled = decide_by_structure(found, interval, jacobians, x, solver.fine, solver.exponents, rounding, draws)
    missing = ~converged & ~settled[:, None]
    if missing.any():
        warn_user(
            f"{int(missing.sum())} of {missing.numel()} eigenvalues have not converged; ask for fewer by top=, "
            "or take method='dense'.",
        )
    return replace(found, seed=seeds)


def _measure(solver: "_EigenvalueSolver", top: int, block: int, *, vectors: bool) -> tuple[Spectrum, Tensor, Tensor]:
    """Compute the leading eigenvalues from Krylov spaces.

    Returns:
        The spectrum, which eigenvalues have converged, and bounds on the radius from below and from above (2, B).
    """
    dtype = solver.jacobians.dtype
    first = solver.draws.right[..., 0]
    _, direction = compute_largest_singular_value(solver.coarse.push, solver.coarse.pull, first.to(solver.dtype))
    sigma_max = compute_largest_singular_value(solver.fine.push, solver.fine.pull, direction.to(dtype))[0].double()
    rounding = solver.bound_rounding(sigma_max)
    right, above = solver.solve(top, rounding, transposed=False)
    left, above_left = solver.solve(block, rounding, transposed=True, near=right.values[:, 0])
    condition = _compute_condition(right, left)
    if (condition > 1).any() and left.values.shape[-1] > 1:
        condition = torch.where(solver.find_normal(right, left), 1.0, condition)

    radius = right.values[:, 0].abs()
    upper = torch.maximum(above, above_left)
    lower = (radius - _bound_shift(right, condition, rounding)).clamp(min=0)
    sigma_max = torch.fmax(sigma_max, lower)  # no step stretches less than the radius
    error = torch.maximum(upper - radius, radius - lower)
    found = Spectrum(
        eigenvalues=scale_values(right.values, solver.exponents),
        radius=scale_values(radius, solver.exponents),
        radius_error=scale_values(error, solver.exponents),
        sigma_max=scale_values(sigma_max, solver.exponents),
        condition=condition,
        transient_growth=None,
        vectors=right.vectors if vectors else None,
        method="arnoldi",
    )
    converged = right.residual <= 1e3 * TOLERANCE * right.values[:, :1].abs()
    interval = torch.stack([scale_values(bound, solver.exponents) for bound in (lower, upper)])
    return found, converged, interval


def _bound_shift(right: RitzPairs, condition: Tensor, rounding: Tensor) -> Tensor:
    """Bound the distance from the first Ritz value to an eigenvalue."""
    # |lambda - true eigenvalue| <= condition * (residual + rounding of the products), to first order
    shift = condition * (right.residual[:, 0] + rounding)
    count = torch.ones_like(shift)
    for space in right.spaces:
        distance = (space.values - right.values[space.rows, :1]).abs()
        # The twice first-order discs of values nearer than this overlap.
        count[space.rows] = (distance <= 4 * space.values.shape[-1] ** 0.5 * shift[space.rows, None]).sum(1).double()
    return 2 * count.clamp(min=1) * shift.nan_to_num(nan=torch.inf, posinf=torch.inf)


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
    exponents: Tensor
    """Logarithms to base 2 of the units in which the products are given."""
    draws: Draws

    def bound_rounding(self, sigma_max: Tensor) -> Tensor:
        """Bound the norm of the rounding of the exact products."""
        return self.jacobians.eps * self.jacobians.dim**0.5 * sigma_max

    def select_exact(self, rows: Tensor) -> "_EigenvalueSolver":
        """Return the solver of some of the points that computes in double precision alone."""
        products = self.fine.narrow(rows)
        dtype = self.jacobians.dtype
        exponents = self.exponents[rows]
        return _EigenvalueSolver(self.jacobians, self.x[rows], products, products, dtype, exponents, self.draws[rows])

    def find_normal(self, right: RitzPairs, left: RitzPairs) -> Tensor:
        """Tell where the first right vector is a left one too, of an eigenvalue of which the left space is full.

        The few left vectors that were found of an eigenvalue of high multiplicity span no dual of the right one.
        """
        value = right.values[:, :1]
        full = ((left.values - value).abs() <= SAME * value.abs()).all(1)
        if not full.any():
            return full
        vector = right.vectors[..., 0]
        parts = torch.stack([vector.real, vector.imag]).to(self.jacobians.dtype)
        image = torch.complex(*self.fine.pull(parts).double())
        gap = torch.linalg.vector_norm(image - value.conj() * vector, dim=-1)
        return full & (gap <= TOLERANCE * value[:, 0].abs())

    def solve(
        self, top: int, rounding: Tensor, *, transposed: bool, near: Tensor | None = None
    ) -> tuple[RitzPairs, Tensor]:
        """Compute Ritz pairs in single precision and refine them in double; again in double if they do not hold.

        A pre-activation near a kink may fall on the other side of it in single precision, where the Jacobian differs.

        Returns:
            The pairs, and a bound on the moduli of all eigenvalues.
        """
        start = self.draws.left if transposed else self.draws.right
        columns = start.shape[-1]
        coarse, narrow = _choose_side(self.coarse, transposed=transposed)
        found = compute_ritz_pairs(coarse, start.to(self.dtype), top, TOLERANCE, near, narrow=narrow)
        if self.dtype == self.jacobians.dtype:
            return found, bound_hidden_moduli(found, columns, rounding)
        refined, noise = self._refine(found, transposed=transposed)
        exact = replace(refined, residual=refined.residual + rounding[:, None])
        upper = bound_hidden_moduli(found, columns, noise + rounding, exact)
        wanted = refined.residual if near is None else refined.residual[:, :1]
        sound = (wanted <= 2 * TOLERANCE * refined.values[:, :1].abs()).all(1)
        wrong = (~sound).nonzero().flatten()
        if not len(wrong):
            return replace(refined, spaces=found.spaces), upper

        first = refined.vectors[wrong].real[..., :1]
        start = torch.cat([start[wrong], first], -1).to(self.jacobians.dtype)
        fine, narrow = _choose_side(self.fine.narrow(wrong), transposed=transposed)
        target = None if near is None else near[wrong]
        again = compute_ritz_pairs(fine, start, top, TOLERANCE, target, narrow=narrow)
        upper[wrong] = bound_hidden_moduli(again, columns, rounding[wrong])
        for name in ("values", "vectors", "residual"):
            getattr(refined, name)[wrong] = getattr(again, name)
        spaces = tuple(replace(space, rows=wrong[space.rows]) for space in again.spaces)
        return replace(refined, spaces=found.spaces + spaces), upper  # the later spaces replace the earlier ones

    def _refine(self, pairs: RitzPairs, *, transposed: bool) -> tuple[RitzPairs, Tensor]:
        """Compute the Rayleigh quotients and the residuals of the vectors by exact products.

        Returns:
            The refined pairs, and a bound on the norm of the error of the images of the basis.
        """
        probes, images = self._mix_columns(pairs, self.draws.mixing[:, int(transposed)])
        top = pairs.vectors.shape[-1]
        columns = [probes, pairs.vectors.real]
        if pairs.vectors.imag.any():
            columns.append(pairs.vectors.imag)
        parts = torch.cat(columns, -1).to(self.jacobians.dtype)
        fine, _ = _choose_side(self.fine, transposed=transposed)
        product_parts = fine(parts.movedim(-1, 0)).movedim(0, -1)
        count = probes.shape[-1]
        vectors = _join_complex(parts[..., count:], top)
        products = _join_complex(product_parts[..., count:], top)
        # Rayleigh quotient v* A v / v* v
        square = torch.linalg.vector_norm(vectors, dim=-2, keepdim=True).square()
        values = (vectors.conj() * products).sum(-2, keepdim=True) / square
        residual = torch.linalg.vector_norm(products - values * vectors, dim=-2)
        noise = bound_norm(product_parts[..., :count] - images)
        return RitzPairs(values.squeeze(-2), vectors / square.sqrt(), residual), noise

    @staticmethod
    def _mix_columns(pairs: RitzPairs, mixing: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the columns of each basis at random, and their images in the same way."""
        size = (len(mixing), pairs.vectors.shape[-2], mixing.shape[-1])
        columns = torch.zeros(size, dtype=torch.float64, device=mixing.device)
        images = torch.zeros_like(columns)
        for space in pairs.spaces:
            factors = mixing[space.rows, : space.basis.shape[-1]]
            columns[space.rows] = space.basis.double() @ factors
            images[space.rows] = space.images.double() @ factors
        return columns, images


def _choose_side(products: Products, *, transposed: bool) -> tuple[Map, Narrow]:
    """Return the products with J or with its transpose, and how to get those at some of the points."""
    if transposed:
        return products.pull, lambda rows: products.narrow(rows).pull
    return products.push, lambda rows: products.narrow(rows).push


def _join_complex(parts: Tensor, top: int) -> Tensor:
    """Join ``top`` real columns and as many imaginary ones; left out, they are zero."""
    imaginary = parts[..., top:] if parts.shape[-1] > top else torch.zeros_like(parts)
    return torch.complex(parts[..., :top], imaginary)


def _choose_precisions(
    jacobians: Jacobians, x: Tensor, draws: Draws, products: Products | None = None
) -> _EigenvalueSolver:
    """Linearise the map at ``x``, also in single precision if it is a module that could be traced.

    The products are given in units of a power of two, which is exact: squares of very large or very small numbers leave
    the number range.
    """
    fine = products or jacobians.form_products(x)
    exponents = find_exponents(fine, draws.right[..., 0].to(jacobians.dtype))
    scaled = scale_products(fine, exponents)
    if bool((exponents.abs() <= SINGLE).all()):
        coarse = jacobians.form_coarse_products(x, torch.float32)
        if coarse is not None:
            coarse = scale_products(coarse, exponents)
            return _EigenvalueSolver(jacobians, x, scaled, coarse, torch.float32, exponents, draws)
    return _EigenvalueSolver(jacobians, x, scaled, scaled, jacobians.dtype, exponents, draws)
