"""Jacobians as products of thin factors."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
    """False where the Jacobian holds NaN or infinity; its factors are zero there."""
    eps: float
    """Rounding of the arithmetic they were computed in."""

    def inward(self, v: Float[Tensor, "batch dim m"]) -> Float[Tensor, "batch k m"]:
        """From the space to the cut."""
        for factor in (self.outer_right, self.right):
            v = v if factor is None else factor @ v
        return v

    def outward(self, z: Float[Tensor, "batch k m"]) -> Float[Tensor, "batch dim m"]:
        """From the cut back to the space: J v is ``outward(inward(v))``."""
        z = self.left @ z
        return z if self.outer_left is None else self.outer_left @ z

    def pull(self, u: Float[Tensor, "batch dim m"]) -> Float[Tensor, "batch dim m"]:
        """J^T u."""
        for factor in (self.outer_left, self.left, self.right, self.outer_right):
            u = u if factor is None else factor.mT @ u
        return u

    def core(self) -> Float[Tensor, "batch k k"]:
        """A matrix with the nonzero eigenvalues of the Jacobian."""
        core = self.left if self.outer_left is None else self.outer_left @ self.left
        return self.inward(core)


def factored(
    eps: float,
    left: Tensor,
    right: Tensor | None = None,
    outer_left: Tensor | None = None,
    outer_right: Tensor | None = None,
) -> Factors:
    """Outer factors made orthonormal; zeros where a Jacobian is not finite: an eigensolve on NaN kills the process."""
    outer_finite = all(bool(part.isfinite().all()) for part in (outer_left, outer_right) if part is not None)
    if outer_left is not None and outer_finite:
        outer_left, triangle = torch.linalg.qr(outer_left)
        left = triangle @ left
    if outer_right is not None and outer_finite:
        basis, triangle = torch.linalg.qr(outer_right.mT)
        inner = triangle.mT.expand(len(left), -1, -1) if right is None else right @ triangle.mT
        outer_right, right = basis.mT, inner
    finite = left.isfinite().flatten(1).all(1) & outer_finite
    if right is not None:
        finite &= right.isfinite().flatten(1).all(1)
        right = torch.where(finite[:, None, None], right, 0.0)
    left = torch.where(finite[:, None, None], left, 0.0)
    return Factors(left, right, outer_left, outer_right, finite, eps)
