"""Jacobians of a map, their eigenvalues with error bounds, and the operators of linear maps."""

from memzoo.dynamics.spectra.arnoldi import solve_shifted
from memzoo.dynamics.spectra.checking import Derivative
from memzoo.dynamics.spectra.eigenvalues import compute_spectrum, spectrum
from memzoo.dynamics.spectra.factors import build_factors
from memzoo.dynamics.spectra.flat_map import FlatMap, flatten_map
from memzoo.dynamics.spectra.full_spectrum import compute_full_spectrum
from memzoo.dynamics.spectra.jacobian import ROWS, Jacobians, Method, check_differentiable_self_map
from memzoo.dynamics.spectra.linear_operator import HasShape, Operator, operator
from memzoo.dynamics.spectra.lu import solve
from memzoo.dynamics.spectra.notation import bracket_notation
from memzoo.dynamics.spectra.own_derivative import choose_own_derivative
from memzoo.dynamics.spectra.plain_autograd import pull_back_batch_by_autograd
from memzoo.dynamics.spectra.products import Products
from memzoo.dynamics.spectra.quick import WIDE, choose_quick_method, compute_leading_eigenvalues, compute_radii
from memzoo.dynamics.spectra.radius import radius_bracket
from memzoo.dynamics.spectra.spectrum import Spectrum
from memzoo.dynamics.spectra.triangular import find_triangular

__all__ = [
    "ROWS",
    "WIDE",
    "Derivative",
    "FlatMap",
    "HasShape",
    "Jacobians",
    "Method",
    "Operator",
    "Products",
    "Spectrum",
    "bracket_notation",
    "build_factors",
    "check_differentiable_self_map",
    "choose_own_derivative",
    "choose_quick_method",
    "compute_full_spectrum",
    "compute_leading_eigenvalues",
    "compute_radii",
    "compute_spectrum",
    "find_triangular",
    "flatten_map",
    "operator",
    "pull_back_batch_by_autograd",
    "radius_bracket",
    "solve",
    "solve_shifted",
    "spectrum",
]
