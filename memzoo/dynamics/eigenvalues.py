"""Eigenvalues of the Jacobian of a self-map, with error bounds and a verdict."""

from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from memzoo._checks import check_batch, check_module
from memzoo._types import Map
from memzoo.dynamics.jacobian import (
    Factors,
    Method,
    blocks,
    check_differentiable_self_map,
    choose_method,
    linearise,
)
from memzoo.dynamics.precision import widened

Verdict = Literal["contracting", "expanding", "undecided"]


@dataclass(frozen=True)
class Spectrum:
    """What :func:`spectrum` found, one row a point; all values are dimensionless."""

    eigenvalues: Complex[Tensor, "batch k"]
    """Largest modulus first. All eigenvalues beyond these are zero (or were cut off by ``top``)."""
    radius: Float[Tensor, " batch"]
    """Spectral radius, the largest modulus."""
    radius_error: Float[Tensor, " batch"]
    """Bound on ``|radius - true radius|`` for the Jacobian as computed: it covers the rounding of the products and of
    the eigensolve, not digits that ``f`` itself loses by cancellation."""
    sigma_max: Float[Tensor, " batch"]
    """Largest singular value: the most that one step stretches, in L2."""
    condition: Float[Tensor, " batch"]
    """Condition number of the leading eigenvalue, 1 for a normal Jacobian."""
    method: Method

    @property
    def verdict(self) -> list[Verdict]:
        """``contracting`` and ``expanding`` are decided beyond the error bound; an exact 1 is ``undecided``.

        A small radius makes an attractor only of a fixed point: see :func:`memzoo.dynamics.certify`.
        """
        below = (self.radius + self.radius_error < 1).tolist()
        above = (self.radius - self.radius_error > 1).tolist()
        return [
            "contracting" if low else "expanding" if high else "undecided"
            for low, high in zip(below, above, strict=True)
        ]


@torch.no_grad()
def spectrum(
    f: Map,
    x: Float[Tensor, "batch *shape"],
    *,
    method: Method | None = None,
    top: int | None = None,
    memory_limit: int = 2**30,
) -> Spectrum:
    r"""The nonzero spectrum of the Jacobian :math:`J_f(x)` at each point.

    At a fixed point a radius below 1 makes ``x`` an attractor and a radius above 1 makes it unstable (Theorem 2 of the
    paper, reading its "largest eigenvalue" as the largest modulus). At any other point the values describe local
    stretching and imply nothing about attraction: an untrained network has a radius near 0 everywhere.

    A module may name its narrowest layer by a method ``cut()`` (see :class:`memzoo.dynamics.HasCut`). Then, with
    :math:`f = g \circ h` and :math:`h(x)` of size k, the nonzero eigenvalues of the d x d matrix :math:`J_g J_h` are
    those of a k x k matrix, exactly and with multiplicity. Otherwise the full Jacobian is formed.

    Args:
        f: Self-map; modules must be in eval mode. A module is read in float64 without being changed; another callable
            is asked for float64 and, where it cannot, measured in its own precision with the wider bound.
        x: Points, scaled as the model was trained.
        method: ``"cut"`` or ``"dense"``; chosen when left out.
        top: Keep only this many leading eigenvalues.
        memory_limit: Bytes for the Jacobians in work at one time; points are taken in blocks that fit.

    Returns:
        Cost through a cut: k forward and k reverse products and one k x k eigensolve a point; dense: d reverse products
        and an eigensolve of the size of the numerical rank.

    Raises:
        NonFiniteError: NaN or infinity in ``x``, in the parameters of ``f``, in ``f(x)`` or in a Jacobian.
        NotASelfMapError: ``f`` changes the shape of ``x``.
        ValueError: An active dropout or batch norm; a cut that is not one; an unknown ``method``.

    Example:
        >>> rotation = torch.tensor([[0.0, -1.2], [1.2, 0.0]])
        >>> result = spectrum(lambda x: x @ rotation.T, torch.zeros(1, 2))
        >>> result.radius, result.verdict
        (tensor([1.2000], dtype=torch.float64), ['expanding'])
    """
    check_batch(x, "x")
    check_module(f)
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}.")
    method = choose_method(f, method)
    check_differentiable_self_map(*widened(f, x))
    parts = [_spectrum_of(linearise(f, x[rows], method, memory_limit)) for rows in blocks(f, x, method, memory_limit)]
    width = max(part.eigenvalues.shape[1] for part in parts)
    merged = {
        field.name: torch.cat([_padded(getattr(part, field.name), width) for part in parts])
        for field in fields(Spectrum)
        if field.name != "method"
    }
    merged["eigenvalues"] = merged["eigenvalues"][:, :top]
    return Spectrum(**merged, method=method)


def _padded(values: Tensor, width: int) -> Tensor:
    """Blocks may differ in rank; what is missing is zero."""
    return values if values.ndim == 1 else torch.nn.functional.pad(values, (0, width - values.shape[1]))


def _core(factors: Factors) -> Tensor:
    r""":math:`Q^T J Q` (B, k, k), Q an orthonormal basis of the range of J: it has the nonzero spectrum of J."""
    if factors.left.shape[-1] == factors.left.shape[-2]:  # no range to compress to: J itself
        return factors.left @ factors.right
    basis, triangle = torch.linalg.qr(factors.left)
    return triangle @ (factors.right @ basis)


def _spectrum_of(factors: Factors) -> Spectrum:
    left, right = factors.left, factors.right
    core = _core(factors)
    values, vectors = torch.linalg.eig(core)
    order = values.abs().argsort(-1, descending=True)
    values = values.gather(-1, order)
    vectors = vectors.gather(-1, order.unsqueeze(-2).expand_as(vectors))

    # condition of an eigenvalue: |left vector| |right vector| / |their product|; the rows of V^-1 are the left ones
    inverse, info = torch.linalg.inv_ex(vectors)
    condition = torch.linalg.vector_norm(inverse, dim=-1) * torch.linalg.vector_norm(vectors, dim=-2)
    condition = torch.where((info != 0).unsqueeze(-1) | ~condition.isfinite(), torch.inf, condition)

    # the factors carry relative rounding errors, so the matrix is known to within delta
    rounding = torch.finfo(left.dtype).eps * left.shape[-2] ** 0.5
    delta = rounding * torch.linalg.matrix_norm(left) * torch.linalg.matrix_norm(right) + factors.backward
    error = torch.where(delta.unsqueeze(-1) > 0, condition * delta.unsqueeze(-1), 0.0)
    radius = values[:, 0].abs()
    least, most = _radius_bracket(core, delta)
    upper = torch.minimum((values.abs() + error).amax(-1), most)
    lower = torch.maximum(radius - error[:, 0], least)
    return Spectrum(
        eigenvalues=values.to(torch.complex128),
        radius=radius.double(),
        radius_error=torch.maximum(radius - lower, upper - radius).clamp(min=0).double(),
        sigma_max=_sigma_max(left, right).double(),
        condition=condition[:, 0].double(),
        method=factors.method,
    )


def _sigma_max(left: Tensor, right: Tensor) -> Tensor:
    """Largest singular value of left @ right, from the k x k core of two thin QR factorisations."""
    core = torch.linalg.qr(left).R @ torch.linalg.qr(right.mT).R.mT
    return torch.linalg.matrix_norm(core, ord=2)


def _radius_bracket(matrix: Tensor, delta: Tensor, squarings: int = 12) -> tuple[Tensor, Tensor]:
    r""":math:`(|tr A^m| / k)^{1/m} \le \rho(A) \le \|A^m\|^{1/m}`, m = 1, 2, 4, ... by squaring, errors carried along.

    Holds for every A within ``delta`` of ``matrix``, defective or not, where bounds from eigenvector conditions say
    nothing; the price is a gap of up to a factor :math:`(\kappa k)^{1/m}`.
    """
    size_k = matrix.shape[-1]
    rounding = torch.finfo(matrix.dtype).eps * size_k
    tiny = torch.finfo(matrix.dtype).tiny
    largest = matrix.abs().amax((-2, -1)).clamp(min=tiny)  # norms of very small or large entries leave the number range
    power, error, log_scale = matrix / largest[:, None, None], delta / largest, largest.log()
    least, most = torch.zeros_like(delta), torch.full_like(delta, torch.inf)
    for j in range(squarings + 1):
        size = (torch.linalg.matrix_norm(power) + error).clamp(min=tiny)  # at least the norm of the true A^(2^j)
        power, error, log_scale = power / size[:, None, None], error / size, log_scale + size.log() / 2**j
        trace = (power.diagonal(dim1=-2, dim2=-1).sum(-1).abs() - size_k**0.5 * error).clamp(min=0)
        most = torch.minimum(most, log_scale.exp())  # every power bounds; rounding may spoil the later ones
        least = torch.maximum(least, (log_scale + (trace / size_k).log() / 2**j).exp())
        norm = torch.linalg.matrix_norm(power)
        power, error = power @ power, rounding * norm**2 + 2 * error * norm + error**2
    return least, most
