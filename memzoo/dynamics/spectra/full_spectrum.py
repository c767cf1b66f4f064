"""All nonzero eigenvalues of a Jacobian from its factors."""

import math

import torch
from torch import Tensor

from memzoo.dynamics.spectra.factors import Factors
from memzoo.dynamics.spectra.jacobian import Method
from memzoo.dynamics.spectra.lu import inverse as invert
from memzoo.dynamics.spectra.radius import bracket
from memzoo.dynamics.spectra.spectrum import Spectrum

POWERS = 300
NOTHING = 2.0**-160  # of the largest entry: far below its rounding
PAYS = 0.75  # of the width: a rank below is worth the factorisation that shows it
LOOSE = 1e-4  # relative; squaring leaves a gap of the order of 1e-3


def full_spectrum(factors: Factors, method: Method, top: int | None, *, vectors: bool, transient: bool) -> Spectrum:
    """All nonzero eigenvalues, from the Jacobian in an orthonormal basis of its range."""
    basis, tail, left_out = _range(factors)
    inner = tail
    if factors.outer_right is not None and factors.outer_left is not None:
        inner = tail @ (factors.outer_right @ factors.outer_left)  # one small product for all points
    else:
        for factor in (factors.outer_right, factors.outer_left):
            inner = inner if factor is None else inner @ factor
    core = inner if basis is None else inner @ basis

    values, right = (part.to(core.device) for part in _eig(core.cpu()))  # small ones are slow on a GPU
    order = values.abs().argsort(-1, descending=True)
    values = values.gather(-1, order)
    right = right.gather(-1, order.unsqueeze(-2).expand_as(right))
    # condition of an eigenvalue: |left vector| |right vector| / |their product|; the rows of V^-1 are the left ones
    inverse, exists = invert(right)
    length = torch.linalg.vector_norm(right, dim=-2)
    condition = torch.linalg.vector_norm(inverse, dim=-1) * length
    condition = torch.where(~exists.unsqueeze(-1) | ~condition.isfinite(), torch.inf, condition)

    # the factors carry relative rounding errors, so the matrix is known to within delta
    rounding = factors.eps * factors.left.shape[-2] ** 0.5
    other = factors.left.shape[-1] ** 0.5 if factors.right is None else torch.linalg.matrix_norm(factors.right)
    delta = rounding * torch.linalg.matrix_norm(factors.left) * other + left_out
    error = torch.where(delta.unsqueeze(-1) > 0, condition * delta.unsqueeze(-1), 0.0)
    radius = values[:, 0].abs()
    upper, lower = (values.abs() + error).amax(-1), radius - error[:, 0]
    loose = ~(torch.maximum(upper - radius, radius - lower) <= LOOSE * radius)  # squaring may know better
    if loose.any():
        least, most = bracket(core[loose], delta[loose])
        upper[loose], lower[loose] = torch.minimum(upper[loose], most), torch.maximum(lower[loose], least)
    sigma_max = _norm(tail)
    # the left eigenvector of J itself, not only of its restriction to the range
    dual = torch.hypot(
        *(torch.linalg.vector_norm(part[:, :1] @ tail, dim=(-2, -1)) for part in (inverse.real, inverse.imag))
    )
    dual = dual / radius
    whole = torch.where(condition[:, 0].isfinite() & (radius > 0), dual * length[:, 0], condition[:, 0])
    unknown = ~factors.finite.to(values.device)
    values[unknown], radius[unknown] = torch.nan, torch.nan
    return Spectrum(
        eigenvalues=values[:, :top].to(torch.complex128),
        radius=radius.double(),
        radius_error=torch.maximum(radius - lower, upper - radius).clamp(min=0).double(),
        sigma_max=sigma_max.double(),
        condition=torch.maximum(whole, condition[:, 0]).double(),
        transient_growth=_growth(core, tail, sigma_max, upper < 1).double() if transient else None,
        vectors=_lifted(factors, basis, right[..., :top]) if vectors else None,
        method=method,
    )


def _lifted(factors: Factors, basis: Tensor | None, vectors: Tensor) -> Tensor:
    for factor in (basis, factors.outer_left):
        vectors = vectors if factor is None else factor.to(vectors.dtype) @ vectors
    return vectors / torch.linalg.vector_norm(vectors, dim=-2, keepdim=True)


def _eig(core: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and right vectors.

    Where a program flushes denormals, products that underflow keep LAPACK from converging: the largest entry is brought
    to 1, and entries that are nothing beside its rounding are dropped.
    """
    size = core.abs().amax((-2, -1), keepdim=True)
    scale = torch.where(size > 0, 2.0 ** size.clamp(min=torch.finfo(size.dtype).tiny).log2().floor(), 1.0)  # exact
    scaled = core / scale
    values, right = torch.linalg.eig(torch.where(scaled.abs() < NOTHING, 0.0, scaled))
    return values * scale.squeeze(-1), right


def _range(factors: Factors) -> tuple[Tensor | None, Tensor, Tensor]:
    """``(basis, tail, left_out)``: left @ right = basis @ tail, the basis orthonormal and as thin as rounding allows.

    The rank is often far below the width: the units of a ReLU network that are off carry nothing. It is
    guessed from a few points; what a random sketch of that size leaves out is computed.
    """
    basis, tail = None, factors.left
    if tail.shape[-1] < tail.shape[-2]:
        basis, tail = torch.linalg.qr(tail)
    tail = tail if factors.right is None else tail @ factors.right
    rows = tail.shape[-2]
    norm = torch.linalg.matrix_norm(tail)
    rounding = torch.finfo(tail.dtype).eps * rows**0.5
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(tail)

    sample, columns = tail[:: math.ceil(len(tail) / 4)], tail.shape[-1]
    if rows > 512:  # of a large one, only a rank below a quarter is looked for: a random product of that size shows it
        sample = random(rows // 4, rows) @ sample @ random(columns, rows // 4)
    values = torch.linalg.svdvals(sample)
    rank = int(1.1 * int((values > rounding * values[:, :1]).sum(1).max())) + 8
    if rank < PAYS * min(rows, values.shape[-1]):
        thin, triangle = torch.linalg.qr(tail @ random(columns, rank))
        shown = triangle.diagonal(dim1=-2, dim2=-1).abs() > rounding * norm[:, None]  # falls off a cliff at the rank
        thin = thin[..., : int(shown.sum(1).max()) + 1]
        rest = thin.mT @ tail
        left_out = torch.linalg.matrix_norm(tail - thin @ rest)
        if (left_out <= 8 * rounding * norm).all():  # it counts in the bound
            return thin if basis is None else basis @ thin, rest, left_out
    return basis, tail, torch.zeros_like(norm)


def _norm(matrices: Tensor) -> Tensor:
    """Largest singular value, from the eigenvalues of the smaller Gram matrix."""
    scale = matrices.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(matrices.dtype).tiny)
    gram = matrices / scale @ (matrices / scale).mT
    return torch.linalg.eigvalsh(gram)[..., -1].clamp(min=0).sqrt() * scale.flatten()


def _growth(core: Tensor, tail: Tensor, sigma_max: Tensor, contracting: Tensor) -> Tensor:
    """max_t ||J^t||, where J^t is core^(t-1) tail in an orthonormal basis; infinite where no decay is proven.

    Once some power has shrunk all there is (norm < 1), no later one exceeds the largest so far.
    """
    largest = sigma_max.clone()
    rows, power = contracting.nonzero().flatten(), tail[contracting]
    for _ in range(POWERS):
        still = torch.linalg.matrix_norm(power) >= 1
        rows, power = rows[still], power[still]
        if not len(rows):
            break
        power = core[rows] @ power
        gram = power @ power.mT
        most = torch.linalg.matrix_norm(gram @ gram).pow(0.25)  # ||A|| <= ||(A A^T)^2||_F^(1/4)
        raised = most > (1 + 1e-9) * largest[rows]
        if raised.any():
            largest[rows[raised]] = torch.maximum(largest[rows[raised]], _norm(power[raised]))
    largest[rows] = torch.inf
    return torch.where(contracting, largest, torch.inf)
