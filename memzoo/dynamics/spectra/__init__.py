"""Jacobians of a map, their eigenvalues with error bounds, and the operators of linear maps."""

from memzoo.dynamics.spectra.arnoldi import solve_shifted
from memzoo.dynamics.spectra.checking import Derivative
from memzoo.dynamics.spectra.derivatives import compute_jacobians
from memzoo.dynamics.spectra.differences import compute_jacobians_by_differences
from memzoo.dynamics.spectra.eigenvalues import compute_spectrum, spectrum
from memzoo.dynamics.spectra.factors import Factors, build_factors
from memzoo.dynamics.spectra.flat_map import FlatMap, flatten_map
from memzoo.dynamics.spectra.full_spectrum import compute_full_spectrum
from memzoo.dynamics.spectra.inexact_factors import InexactFactors
from memzoo.dynamics.spectra.jacobian import (
    LARGEST_BY_DIFFERENCES,
    ROWS,
    Jacobians,
    Method,
    check_differentiable_self_map,
)
from memzoo.dynamics.spectra.linear_operator import HasShape, Operator, operator
from memzoo.dynamics.spectra.local_dimension import LocalDimension, check_threshold, local_dimension
from memzoo.dynamics.spectra.lu import solve
from memzoo.dynamics.spectra.notation import bracket_notation
from memzoo.dynamics.spectra.own_derivative import build_check, choose_own_derivative
from memzoo.dynamics.spectra.plain_autograd import pull_back_batch_by_autograd
from memzoo.dynamics.spectra.products import Products
from memzoo.dynamics.spectra.quick import (
    WIDE,
    choose_quick_method,
    compute_leading_eigenvalues,
    compute_radii,
    select_verified_radii,
)
from memzoo.dynamics.spectra.radius import radius_bracket
from memzoo.dynamics.spectra.spectrum import Spectrum
from memzoo.dynamics.spectra.start_vectors import derive_seeds
from memzoo.dynamics.spectra.triangular import find_triangular
from memzoo.dynamics.spectra.work import Cost, Price, estimate_spectrum, time_batches, time_call

__all__ = [
    "LARGEST_BY_DIFFERENCES",
    "ROWS",
    "WIDE",
    "Cost",
    "Derivative",
    "Factors",
    "FlatMap",
    "HasShape",
    "InexactFactors",
    "Jacobians",
    "LocalDimension",
    "Method",
    "Operator",
    "Price",
    "Products",
    "Spectrum",
    "bracket_notation",
    "build_check",
    "build_factors",
    "check_differentiable_self_map",
    "check_threshold",
    "choose_own_derivative",
    "choose_quick_method",
    "compute_full_spectrum",
    "compute_jacobians",
    "compute_jacobians_by_differences",
    "compute_leading_eigenvalues",
    "compute_radii",
    "compute_spectrum",
    "derive_seeds",
    "estimate_spectrum",
    "find_triangular",
    "flatten_map",
    "local_dimension",
    "operator",
    "pull_back_batch_by_autograd",
    "radius_bracket",
    "select_verified_radii",
    "solve",
    "solve_shifted",
    "spectrum",
    "time_batches",
    "time_call",
]
