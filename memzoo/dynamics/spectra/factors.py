r"""Form Jacobians as products of thin factors, at the narrowest place of a map.

Where a map is :math:`f = g \circ h`, the chain rule gives :math:`J_f(x) = J_g(h(x))\,J_h(x)`. With k numbers in h(x)
the factors are d x k and k x d, and the nonzero eigenvalues of :math:`J_g J_h` are those of the k x k matrix
:math:`J_h J_g`, with their multiplicities (Horn and Johnson, Matrix Analysis, 2nd edition, Theorem 1.3.22). The
linearisation is taken at x and at h(x), so the product is the Jacobian at every point, not only at fixed points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, fx

from memzoo._types import Map
from memzoo.dynamics.spectra.derivatives import compute_jacobians, flatten_map, map_rows
from memzoo.dynamics.spectra.scaling import find_exponents_of_sizes, scale_values
from memzoo.dynamics.tracing import TracedGraph

MODERATE = 16
"""Logarithm to base 2 of a size up to which even its fourth power, over many entries, is in the range of float32."""


@dataclass(frozen=True)
class Factors:
    r"""``J(x) = outer_left @ left @ right @ outer_right`` at each point; a factor that is None is the identity."""

    left: Float[Tensor, "batch s k"]
    right: Float[Tensor, "batch k p"] | None
    outer_left: Float[Tensor, "dim s"] | None
    """Orthonormal columns, the same at every point."""
    outer_right: Float[Tensor, "p dim"] | None
    """Orthonormal rows, the same at every point."""
    finite: Bool[Tensor, " batch"]
    """False if the Jacobian holds NaN or infinity; its factors are zero there."""
    eps: float
    """Rounding unit of the arithmetic in which the factors were computed."""

    @property
    def is_whole(self) -> bool:
        """Tell whether ``left`` is the Jacobian itself."""
        return (self.right, self.outer_left, self.outer_right) == (None, None, None)

    def select(self, rows: Int[Tensor, " m"]) -> Self:
        """Return the factors at some of the points."""
        right = None if self.right is None else self.right[rows]
        return replace(self, left=self.left[rows], right=right, finite=self.finite[rows])

    def inward(self, v: Float[Tensor, "batch dim m"]) -> Float[Tensor, "batch k m"]:
        """Map vectors from the space to the cut."""
        for factor in (self.outer_right, self.right):
            v = v if factor is None else factor @ v
        return v

    def outward(self, z: Float[Tensor, "batch k m"]) -> Float[Tensor, "batch dim m"]:
        """Map vectors from the cut back to the space: J v is ``outward(inward(v))``."""
        z = self.left @ z
        return z if self.outer_left is None else self.outer_left @ z

    def push(self, v: Float[Tensor, "m batch dim"]) -> Float[Tensor, "m batch dim"]:
        """Compute J v for stacks of vectors, one a point."""
        return self.outward(self.inward(v.movedim(0, -1))).movedim(-1, 0)

    def pull(self, u: Float[Tensor, "batch dim m"]) -> Float[Tensor, "batch dim m"]:
        """Compute J^T u."""
        for factor in (self.outer_left, self.left, self.right, self.outer_right):
            u = u if factor is None else factor.mT @ u
        return u

    def core(self) -> Float[Tensor, "batch k k"]:
        """Compute a matrix that has the nonzero eigenvalues of the Jacobian."""
        core = self.left if self.outer_left is None else self.outer_left @ self.left
        return self.inward(core)

    def change_units(self) -> "tuple[Factors, Tensor]":
        """Measure each factor in units of a power of two, since norms of extreme numbers leave the number range.

        Returns:
            The factors, and the logarithm to base 2 of the unit of their product at each point.
        """
        exponents = find_exponents_of_sizes(self.left.detach().abs().amax((-2, -1)), MODERATE)
        left = scale_values(self.left, -exponents)
        if self.right is None:
            return replace(self, left=left), exponents
        others = find_exponents_of_sizes(self.right.detach().abs().amax((-2, -1)), MODERATE)
        return replace(self, left=left, right=scale_values(self.right, -others)), exponents + others

    def bound_rounding(self) -> Float[Tensor, " batch"]:
        """Bound the norm of the error of the Jacobian that the relative rounding errors of its factors cause.

        Each entry is a sum over the layers of a network; the root of the height allows for errors that add up in it at
        random. The product of the factors may be much smaller than they are, its error is not.
        """
        rounding = self.eps * self.left.shape[-2] ** 0.5
        # A factor that is None is the identity, whose norm is the root of its size.
        other = self.left.shape[-1] ** 0.5 if self.right is None else torch.linalg.matrix_norm(self.right)
        return rounding * torch.linalg.matrix_norm(self.left) * other


def factor_at_cut(
    graph: TracedGraph, constants: dict[str, Tensor], points: Tensor, tangents: int, eps: float, *, checked: bool
) -> Factors:
    r"""Compute the Jacobians at flat ``points`` through the minimum cut of a traced map.

    Along x -> entry -> cut -> exit -> f(x) they are :math:`J = S\,A(x)\,B(x)\,P`. The affine ends S and P are the same
    at every point and are formed once; an end that is much wider than the cut is not worth its matrix. Where they are
    ``checked``, each of them is compared with plain autograd.
    """
    differentiate = partial(compute_jacobians, tangents=tangents, checked=checked)
    cut = graph.cut
    if cut.affine:
        points = points[:1]
    entry = cut.entry if graph.sizes[cut.entry] <= 2 * cut.size else graph.source
    exit_ = cut.exit if graph.sizes[cut.exit] <= 2 * cut.size else graph.target

    def extract(sources: Sequence[fx.Node], targets: Sequence[fx.Node]) -> Map:
        return graph.extract_flat(constants, sources, targets)

    # P, the same at every point
    to_entry = extract([graph.source], [entry])
    at_entry = map_rows(to_entry)(points)
    outer_right = None
    if entry is not graph.source:
        outer_right = differentiate(to_entry, points[:1])[0]

    # B(x), linearised at the value of the entry
    at_cut = at_entry
    right = None
    if cut.nodes != (entry,):
        to_cut = extract([entry], cut.nodes)
        at_cut = map_rows(to_cut)(at_entry)
        right = differentiate(to_cut, at_entry)

    # A(x), linearised at the values of the cut
    to_exit = extract(cut.nodes, [exit_])
    if cut.nodes == (exit_,):
        left = torch.eye(cut.size, dtype=points.dtype, device=points.device).expand(len(points), -1, -1)
    else:
        left = differentiate(to_exit, at_cut, forward=True)

    # S, the same at every point
    outer_left = None
    if exit_ is not graph.target:
        to_output = extract([exit_], [graph.target])
        at_exit = map_rows(to_exit)(at_cut)[:1]
        outer_left = differentiate(to_output, at_exit, forward=True)[0]
    return build_factors(eps, left, right, outer_left, outer_right)


def factor_at_declared_cut(encode: Map, decode: Map, x: Tensor, tangents: int, eps: float) -> Factors:
    """Compute the Jacobians at ``x`` of the composition ``decode(encode(x))``."""
    code = encode(x)
    left = compute_jacobians(flatten_map(decode, code.shape[1:]), code.flatten(1), tangents, forward=True)
    right = compute_jacobians(flatten_map(encode, x.shape[1:]), x.flatten(1), tangents)
    return build_factors(eps, left, right)


def build_factors(
    eps: float,
    left: Tensor,
    right: Tensor | None = None,
    outer_left: Tensor | None = None,
    outer_right: Tensor | None = None,
) -> Factors:
    """Make the outer factors orthonormal, and replace the factors of a Jacobian that is not finite by zeros.

    LAPACK's eigensolver may end the process on NaN.
    """
    outer_finite = all(bool(part.isfinite().all()) for part in (outer_left, outer_right) if part is not None)
    # S A = Q (R A) with S = Q R, and B P = (B R^T) Q^T with P^T = Q R
    if outer_left is not None and outer_finite:
        outer_left, triangle = torch.linalg.qr(outer_left)
        left = triangle @ left
    if outer_right is not None and outer_finite:
        basis, triangle = torch.linalg.qr(outer_right.mT)
        right = triangle.mT.expand(len(left), -1, -1) if right is None else right @ triangle.mT
        outer_right = basis.mT
    finite = _find_finite(left) & outer_finite
    if right is not None:
        finite &= _find_finite(right)
    if not finite.all():
        left = torch.where(finite[:, None, None], left, 0.0)
        right = right if right is None else torch.where(finite[:, None, None], right, 0.0)
    return Factors(left, right, outer_left, outer_right, finite, eps)


def _find_finite(matrices: Tensor) -> Bool[Tensor, " batch"]:
    """Find the matrices that hold neither NaN nor infinity: a sum shows both, and may overflow by itself."""
    finite = matrices.sum((1, 2)).isfinite()
    return finite if finite.all() else matrices.isfinite().flatten(1).all(1)
