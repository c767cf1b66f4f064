"""Factors of a Jacobian that is known only to within an error of its own, beyond the rounding of its entries."""

from dataclasses import dataclass, replace
from typing import Self

from jaxtyping import Float, Int
from torch import Tensor

from memzoo.dynamics.spectra.factors import Factors, build_factors
from memzoo.dynamics.spectra.scaling import scale_values


@dataclass(frozen=True)
class InexactFactors(Factors):
    """Factors of a Jacobian by differences."""

    error: Float[Tensor, " batch"]
    """Bound on the norm of the error of each Jacobian."""

    def select(self, rows: Int[Tensor, " m"]) -> Self:
        """Return the factors at some of the points, with their errors."""
        return replace(super().select(rows), error=self.error[rows])

    def change_units(self) -> "tuple[InexactFactors, Tensor]":
        """Measure the factors and their error in units of a power of two."""
        factors, exponents = super().change_units()
        error = scale_values(self.error, -exponents)
        return InexactFactors(factors.left, None, None, None, self.finite, self.eps, error), exponents

    def bound_rounding(self) -> Float[Tensor, " batch"]:
        """Bound the norm of the error of the Jacobian, whatever its cause."""
        return super().bound_rounding() + self.error


def build_inexact_factors(
    eps: float, jacobians: Float[Tensor, "batch dim dim"], error: Float[Tensor, " batch"]
) -> InexactFactors:
    """Wrap full Jacobians with a bound on their errors; one that is not finite is replaced by zeros."""
    exact = build_factors(eps, jacobians)
    finite = exact.finite & error.isfinite()
    return InexactFactors(exact.left, None, None, None, finite, eps, error.to(exact.left).nan_to_num())
