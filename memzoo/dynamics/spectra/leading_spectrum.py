"""The leading eigenvalues of Jacobians that are nowhere narrow, from products alone."""

import contextlib
import warnings

import torch
from torch import Tensor, nn

from memzoo._types import Map
from memzoo.dynamics.spectra.arnoldi import Leading, largest_singular_value, leading_eigenvalues
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.spectrum import Spectrum

SAME = 1e-4  # relative distance below which two Ritz values are one eigenvalue
TOLERANCE = 1e-5  # residual relative to the radius; the eigenvalue is off by its square where both sides are known


def leading_spectrum(jacobians: Jacobians, x: Tensor, top: int, *, vectors: bool) -> Spectrum:
    """The ``top`` eigenvalues of largest modulus by Krylov spaces of J, their conditions by those of its transpose.

    Single precision scouts where the map could be traced; vectors, residuals and values are settled in double. The
    bound on the radius holds for the eigenvalue found; that none of larger modulus was missed rests on the random
    start of the space.
    """
    top = min(top, jacobians.dim)
    block = min(max(2, min(top, 4)), jacobians.dim)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(x), jacobians.dim, block, generator=generator, dtype=torch.float64).to(x.device)
    products = scouts = jacobians.products(x)
    coarse = jacobians.dtype
    if isinstance(jacobians.f, nn.Module) and jacobians.anatomy is not None:  # constants of others cannot be narrowed
        with contextlib.suppress(RuntimeError):  # nor those of a module that are no parameters
            scouts, coarse = jacobians.products(x, torch.float32), torch.float32
    right = _settled(jacobians, x, 0, products, scouts, start.to(coarse), top, None)
    left = _settled(jacobians, x, 1, products, scouts, start.to(coarse), block, right.values[:, 0])
    _, direction = largest_singular_value(*scouts, start[..., 0].to(coarse))
    sigma_max = largest_singular_value(*products, direction.to(jacobians.dtype))[0].double()
    condition = _condition(right, left)
    if (lost := right.residual > 1e3 * TOLERANCE * right.values[:, :1].abs()).any():
        warnings.warn(
            f"{int(lost.sum())} of {lost.numel()} eigenvalues have not converged; ask for fewer by top=, or take "
            "method='dense'.",
            stacklevel=4,
        )
    rounding = jacobians.eps * jacobians.dim**0.5 * sigma_max
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


def _condition(right: Leading, left: Leading) -> Tensor:
    """Condition of the first eigenvalue, from the left eigenvectors of the same value (of J^T: it has the same ones).

    Of a multiple one any right vector may have come up; its dual is the nearest within the span of the left ones.
    """
    value, x = right.values[:, :1], right.vectors[..., :1]
    same = (left.values - value).abs() <= SAME * value.abs()
    span = torch.where(same[:, None], left.vectors, 0.0)
    shadow = span.conj() @ (torch.linalg.pinv(span.conj(), rtol=1e-6) @ x)
    cosine = torch.linalg.vector_norm(shadow, dim=(-2, -1))
    return torch.where(same.any(1), 1 / cosine, torch.inf).clamp(min=1)


def _settled(
    jacobians: Jacobians,
    x: Tensor,
    side: int,
    products: tuple[Map, Map],
    scouts: tuple[Map, Map],
    start: Tensor,
    top: int,
    near: Tensor | None,
) -> Leading:
    """Eigenvalues found by a scout, settled in double; from there on in double where the scout was misled.

    A pre-activation near a kink may fall on its other side in single precision: then it has another Jacobian.
    """
    found = leading_eigenvalues(scouts[side], start, top, TOLERANCE, near)
    if start.dtype == jacobians.dtype:
        return found
    parts = torch.cat([found.vectors.real, found.vectors.imag], -1).to(jacobians.dtype)
    moved = products[side](parts.movedim(-1, 0)).movedim(0, -1)
    vectors, images = torch.complex(*parts.chunk(2, -1)), torch.complex(*moved.chunk(2, -1))
    square = torch.linalg.vector_norm(vectors, dim=-2, keepdim=True).square()
    values = (vectors.conj() * images).sum(-2, keepdim=True) / square
    residual = torch.linalg.vector_norm(images - values * vectors, dim=-2)
    values, vectors = values.squeeze(-2), vectors / square.sqrt()
    wanted = residual if near is None else residual[:, :1]
    misled = (~(wanted <= 2 * TOLERANCE * values[:, :1].abs()).all(1)).nonzero().flatten()
    if len(misled):
        warm = torch.cat([vectors[misled].real[..., :1], start[misled, :, 1:].to(jacobians.dtype)], -1)
        target = None if near is None else near[misled]
        again = leading_eigenvalues(jacobians.products(x[misled])[side], warm, top, TOLERANCE, target)
        values[misled], vectors[misled], residual[misled] = again.values, again.vectors, again.residual
    return Leading(values, vectors, residual)
