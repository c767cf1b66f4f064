r"""Compute all nonzero eigenvalues of a Jacobian from its factors, with a bound on the error of the radius.

The Jacobian is written as :math:`J = Q T` with the orthonormal basis Q of its range, so that its nonzero eigenvalues
are those of the small core :math:`T Q`. Where this core is known to within a norm of :math:`\delta`, the bounds on the
radius are proven, not of first order: see :func:`_bound_leading_moduli`. What they take for granted is that
:math:`\delta` covers the backward error of the eigensolver, and the eigenvectors as computed.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memzoo.dynamics.spectra.factors import Factors
from memzoo.dynamics.spectra.jacobian import Method
from memzoo.dynamics.spectra.lu import invert
from memzoo.dynamics.spectra.modulus_count import bound_count_outside
from memzoo.dynamics.spectra.radius import bound_radius
from memzoo.dynamics.spectra.scaling import scale_values
from memzoo.dynamics.spectra.spectrum import Spectrum

SUM = 1 + 1e-9
"""Largest sum of relative perturbations with which no eigenvalue is possible, with room for its own rounding."""
WIDER = 1.25
"""Factor by which a bound is widened until it is proven."""
WIDENINGS = 60
"""Most times; 1.25^60 is 650 000."""
POWERS = 300
"""Powers of a Jacobian that are looked at for its transient growth."""
NEGLIGIBLE = 2.0**-160
"""Share of the largest entry of a matrix that is far below the rounding of that entry."""
PAYS = 0.75
"""A rank below this share of the width is worth the factorisation that shows it."""
LOOSE = 1e-4
"""Relative error bound from which on squaring may give a tighter one; squaring leaves a gap of the order of 1e-3."""


def compute_full_spectrum(
    factors: Factors,
    method: Method,
    top: int | None,
    *,
    vectors: bool,
    transient: bool,
    find_triangular: Callable[[Tensor], Tensor] | None = None,
    above: float | None = None,
) -> Spectrum:
    """Compute all nonzero eigenvalues, from the Jacobian in an orthonormal basis of its range.

    Args:
        factors: Jacobians.
        method: The way in which they were formed.
        top: How many eigenvalues are kept.
        vectors: Keep the right eigenvectors.
        transient: Bound the transient growth.
        find_triangular: Tells at which of some points the Jacobian is triangular in some order of the coordinates.
        above: Bound the number of eigenvalues whose modulus is above this.
    """
    factors, exponents = factors.change_units()
    basis, tail, left_out = _find_range(factors)
    core = _form_core(factors, basis, tail)
    values, right = _solve_eigenproblem(core.cpu())  # small ones are slow on a GPU
    values = values.to(core.device)
    right = right.to(core.device)
    order = values.abs().argsort(-1, descending=True)
    values = values.gather(-1, order)
    right = right.gather(-1, order.unsqueeze(-2).expand_as(right))

    # The condition of an eigenvalue is |left vector| |right vector| / |their product|; the rows of V^-1 are the left
    # vectors, scaled so that the products are 1.
    left, exists = invert(right)
    length = torch.linalg.vector_norm(right, dim=-2)
    condition = torch.linalg.vector_norm(left, dim=-1) * length
    condition = torch.where(~exists.unsqueeze(-1) | ~condition.isfinite(), torch.inf, condition)

    delta = factors.bound_rounding() + left_out
    lower, upper = _bound_radius(core, values, condition, delta)
    one = scale_values(torch.ones_like(upper), -exponents)
    count_outside = None
    if above is not None:
        count_outside = bound_count_outside(core, values, condition, delta, above * one)
    is_triangular = _read_diagonals(factors, values, lower, upper, one, find_triangular)
    radius = values[:, 0].abs()
    sigma_max = _compute_sigma_max(tail)
    # The condition so far is that of the restriction to the range; the left vector of J itself is w T / lambda.
    dual_parts = [torch.linalg.vector_norm(part[:, :1] @ tail, dim=(-2, -1)) for part in (left.real, left.imag)]
    dual = torch.hypot(*dual_parts) / radius
    defined = condition[:, 0].isfinite() & (radius > 0) & ~is_triangular
    whole = torch.where(defined, dual * length[:, 0], condition[:, 0])
    right[is_triangular] = torch.nan  # the eigensolve that gave the vectors is not that of the diagonal

    unknown = ~factors.finite.to(values.device)
    values[unknown] = torch.nan
    radius[unknown] = torch.nan
    if count_outside is not None:
        count_outside[unknown] = torch.nan
    growth = None
    if transient:
        below = scale_values(upper, exponents) < 1
        core = scale_values(core, exponents)
        growth = _bound_growth(core, scale_values(tail, exponents), scale_values(sigma_max, exponents), below).double()
    error = torch.maximum(radius - lower, upper - radius).clamp(min=0)
    return Spectrum(
        eigenvalues=scale_values(values[:, :top].to(torch.complex128), exponents),
        radius=scale_values(radius.double(), exponents),
        radius_error=scale_values(error.double(), exponents),
        sigma_max=scale_values(sigma_max.double(), exponents),
        condition=torch.maximum(whole, condition[:, 0]).double(),
        transient_growth=growth,
        vectors=_lift(right[..., :top], (basis, factors.outer_left)) if vectors else None,
        method=method,
        count_outside=count_outside,
    )


def _form_core(factors: Factors, basis: Tensor | None, tail: Tensor) -> Tensor:
    """Multiply the factors to the matrix of the Jacobian in the basis of its range."""
    inner = tail
    if factors.outer_right is not None and factors.outer_left is not None:
        inner = tail @ (factors.outer_right @ factors.outer_left)  # one small product for all points
    else:
        for factor in (factors.outer_right, factors.outer_left):
            inner = inner if factor is None else inner @ factor
    return inner if basis is None else inner @ basis


def _bound_radius(core: Tensor, values: Tensor, condition: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Bound the spectral radius of every matrix within ``delta`` of ``core`` from below and above."""
    error = torch.where(delta.unsqueeze(-1) > 0, condition * delta.unsqueeze(-1), 0.0)
    radius = values[:, 0].abs()
    lower, upper = _bound_leading_moduli(values, error)
    tight = torch.maximum(upper - radius, radius - lower) <= LOOSE * radius
    loose = ~tight  # also where a bound is NaN
    if loose.any():
        least, most = bound_radius(core[loose], delta[loose])
        upper[loose] = torch.minimum(upper[loose], most)
        lower[loose] = torch.maximum(lower[loose], least)
    return lower, upper


def _bound_leading_moduli(values: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    r"""Bound the largest modulus of the eigenvalues of every matrix near one, from the conditions of all eigenvalues.

    With right and left eigenvectors the resolvent is :math:`(z - A)^{-1} = \sum_j x_j y_j^* / (z - \lambda_j)`, and z
    is no eigenvalue of A + E unless its norm is at least :math:`1 / \|E\|` (Trefethen and Embree, Spectra and
    Pseudospectra, theorem 2.1). So all eigenvalues lie where :math:`\sum_j e_j / |z - \lambda_j| \ge 1`, with
    :math:`e_j = \kappa_j \|E\|`, and a curve outside of this region has as many inside as A. For an eigenvalue far from
    all others that is a disc of nearly its first-order radius :math:`e_j`.

    Args:
        values: Eigenvalues, the largest modulus first.
        error: Condition of each times the norm of the perturbation.
    """
    tiny = torch.finfo(error.dtype).tiny
    moduli = values.abs()
    half = (values[:, :, None] - values[:, None]).abs() / 2
    itself = torch.eye(values.shape[-1], dtype=torch.bool, device=values.device)
    others = error[:, None].masked_fill(itself, 0.0)

    def exceed(beyond: Tensor, rows: Tensor) -> Tensor:
        """Tell where the sum reaches 1 at that distance beyond the largest modulus, whichever eigenvalue is next."""
        reach = moduli[rows, :1] + beyond[:, None]
        away = (reach - moduli[rows]).clamp(min=tiny)
        # Another one is at least half as far as it is from the next one.
        rest = (others[rows] / torch.maximum(away[:, None], half[rows]).clamp(min=tiny)).sum(-1)
        return (error[rows] / away + rest > SUM).any(-1)

    def surround(radius: Tensor, rows: Tensor) -> Tensor:
        """Tell where the sum reaches 1 on a circle of that radius around the leading eigenvalue."""
        return (error[rows] / (2 * half[rows, 0] - radius[:, None]).abs().clamp(min=tiny)).sum(-1) > SUM

    load = (others / torch.maximum(moduli[:, :, None] - moduli[:, None], half).clamp(min=tiny)).sum(-1)
    first = torch.where(load < 1, moduli + error / (1 - load), 0.0).amax(-1) - moduli[:, 0]
    upper = moduli[:, 0] + _widen_until(exceed, torch.maximum(first, error[:, 0]))
    load = (others[:, 0] / half[:, 0].clamp(min=tiny)).sum(-1)
    first = torch.where(load < 1, error[:, 0] / (1 - load), error[:, 0])
    # Gershgorin's discs in the basis of the eigenvectors are smaller where all eigenvalues are near to each other.
    discs = (moduli + values.shape[-1] * error).amax(-1)
    return moduli[:, 0] - _widen_until(surround, first), torch.minimum(upper, discs)


def _widen_until(meets: Callable[[Tensor, Tensor], Tensor], length: Tensor) -> Tensor:
    """Widen lengths until a region is not met any more; a length that is not found is infinite."""
    length = length.clone()
    rows = (length > 0).nonzero().flatten()
    for _ in range(WIDENINGS):
        rows = rows[meets(length[rows], rows)]
        if not len(rows):
            return length
        length[rows] *= WIDER
    return length.index_fill(0, rows, torch.inf)


def _read_diagonals(
    factors: Factors,
    values: Tensor,
    lower: Tensor,
    upper: Tensor,
    one: Tensor,
    find_triangular: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """Read the radius of triangular matrices from the diagonal, where the bounds on it are loose and decide nothing.

    Changes ``values``, ``lower`` and ``upper`` in these rows; ``one`` is a radius of 1 in their units.

    Returns:
        Where the radius comes from the diagonal.
    """
    radius = values[:, 0].abs()
    error = torch.maximum(upper - radius, radius - lower)
    rows = ((error > LOOSE * radius) & (error >= (radius - one).abs())).nonzero().flatten()
    is_triangular = torch.zeros_like(radius, dtype=torch.bool)
    if find_triangular is None or not factors.is_whole or not len(rows):
        return is_triangular
    rows = rows[find_triangular(rows)]
    is_triangular[rows] = True
    diagonal = factors.left[rows].diagonal(dim1=-2, dim2=-1)
    order = diagonal.abs().argsort(-1, descending=True)[:, : values.shape[-1]]
    values[rows] = diagonal.gather(-1, order).to(values.dtype)
    rounding = factors.eps * diagonal.shape[-1] ** 0.5 * factors.left[rows].abs().amax((-2, -1))
    lower[rows] = values[rows, 0].abs() - rounding
    upper[rows] = values[rows, 0].abs() + rounding
    return is_triangular


def _lift(vectors: Tensor, bases: Sequence[Tensor | None]) -> Tensor:
    """Map eigenvectors of the core to unit eigenvectors of the Jacobian."""
    for basis in bases:
        vectors = vectors if basis is None else basis.to(vectors.dtype) @ vectors
    return vectors / torch.linalg.vector_norm(vectors, dim=-2, keepdim=True)


def _solve_eigenproblem(core: Tensor) -> tuple[Tensor, Tensor]:
    """Compute eigenvalues and right vectors.

    If a program flushes denormals, products that underflow keep LAPACK from converging. The largest entry is therefore
    scaled to about 1, and entries that are negligible beside its rounding are dropped.
    """
    size = core.abs().amax((-2, -1), keepdim=True)
    exponent = size.clamp(min=torch.finfo(size.dtype).tiny).log2().floor()
    scale = torch.where(size > 0, 2.0**exponent, 1.0)  # a power of two: exact
    scaled = core / scale
    values, right = torch.linalg.eig(torch.where(scaled.abs() < NEGLIGIBLE, 0.0, scaled))
    return values * scale.squeeze(-1), right


def _find_range(factors: Factors) -> tuple[Tensor | None, Tensor, Tensor]:
    """Find an orthonormal basis, as thin as rounding allows, of the range of left @ right.

    The rank is often far below the width: the units of a ReLU network that are off carry nothing. The rank is guessed
    from a few points. The basis comes from the product with a random matrix of that many columns, and the norm of what
    it leaves out is computed (Halko, Martinsson and Tropp, Finding structure with randomness, 2011).

    Returns:
        ``(basis, tail, left_out)``: left @ right = basis @ tail up to a matrix of norm ``left_out``; None for the
        identity.
    """
    basis = None
    tail = factors.left
    if tail.shape[-1] < tail.shape[-2]:
        basis, tail = torch.linalg.qr(tail)
    tail = tail if factors.right is None else tail @ factors.right
    rows, columns = tail.shape[-2:]
    norm = torch.linalg.matrix_norm(tail)
    rounding = torch.finfo(tail.dtype).eps * rows**0.5
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(tail)

    sample = tail[:: math.ceil(len(tail) / 4)]
    if rows > 512:  # of a large one, only a rank below a quarter is looked for: a random product of that size shows it
        sample = draw(rows // 4, rows) @ sample @ draw(columns, rows // 4)
    values = torch.linalg.svdvals(sample)
    sample_rank = int((values > rounding * values[:, :1]).sum(1).max())
    rank = int(1.1 * sample_rank) + 8
    if rank < PAYS * min(rows, values.shape[-1]):
        thin, triangle = torch.linalg.qr(tail @ draw(columns, rank))
        shown = triangle.diagonal(dim1=-2, dim2=-1).abs() > rounding * norm[:, None]  # drops sharply at the rank
        thin = thin[..., : int(shown.sum(1).max()) + 1]
        rest = thin.mT @ tail
        left_out = torch.linalg.matrix_norm(tail - thin @ rest)
        if (left_out <= 8 * rounding * norm).all():  # it counts in the bound
            return thin if basis is None else basis @ thin, rest, left_out
    return basis, tail, torch.zeros_like(norm)


def _compute_sigma_max(matrices: Tensor) -> Tensor:
    """Compute the largest singular value from the eigenvalues of the Gram matrix of the rows."""
    scale = matrices.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(matrices.dtype).tiny)
    gram = matrices / scale @ (matrices / scale).mT
    return torch.linalg.eigvalsh(gram)[..., -1].clamp(min=0).sqrt() * scale.flatten()


def _bound_growth(core: Tensor, tail: Tensor, sigma_max: Tensor, contracting: Tensor) -> Tensor:
    """Compute max_t ||J^t||, where J^t is core^(t-1) tail in an orthonormal basis; infinite if no decay is proven.

    Once some power has a norm below 1, no later one exceeds the largest so far.
    """
    largest = sigma_max.clone()
    rows = contracting.nonzero().flatten()
    power = tail[contracting]
    for _ in range(POWERS):
        growing = torch.linalg.matrix_norm(power) >= 1
        rows = rows[growing]
        power = power[growing]
        if not len(rows):
            break
        power = core[rows] @ power
        gram = power @ power.mT
        most = torch.linalg.matrix_norm(gram @ gram).pow(0.25)  # ||A|| <= ||(A A^T)^2||_F^(1/4)
        raised = most > (1 + 1e-9) * largest[rows]
        if raised.any():
            largest[rows[raised]] = torch.maximum(largest[rows[raised]], _compute_sigma_max(power[raised]))
    largest[rows] = torch.inf
    return torch.where(contracting, largest, torch.inf)
