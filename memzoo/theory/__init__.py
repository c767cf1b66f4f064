"""The closed forms of the paper, one result a file."""

from memzoo.theory.assumptions import Assumptions, check_assumptions
from memzoo.theory.conv_rank import trained_filter, trained_operator
from memzoo.theory.forced_zeros import depth_lower_bound, forced_zero_pattern, memorization_gap, unmemorizable_vector
from memzoo.theory.heuristic_depth import heuristic_depth, parameter_count
from memzoo.theory.layer_matrices import convolution_matrix, upsampling_matrix
from memzoo.theory.loss_floor import loss_floor
from memzoo.theory.minimum_norm import (
    gradient_descent_solution,
    minimum_norm_solution,
    singular_value_bound,
    step_bound,
)
from memzoo.theory.phi import PHIS, REFLECTED_SIGMOID, SIGMOID, TANH, Phi, phi_named, register_phi
from memzoo.theory.phi_inverse import (
    adaptive_descent,
    adaptive_rates,
    adaptive_step_bound,
    is_solvable,
    minimum_norm_preimage,
)
from memzoo.theory.piecewise_linear import PiecewiseLinearMap, attractor_count, attractors, piecewise_linear_map
from memzoo.theory.ranks import rank_counterexample, rank_of_examples, rank_of_solution
from memzoo.theory.span import Span, span_of
from memzoo.theory.wide_relu import (
    Distribution,
    FirstLayer,
    contraction_matrices,
    gaussian_limit_matrices,
    limit_radius,
    orthogonal_second_layer,
    random_features,
    second_layer,
    spectral_radii,
)

__all__ = [
    "PHIS",
    "REFLECTED_SIGMOID",
    "SIGMOID",
    "TANH",
    "Assumptions",
    "Distribution",
    "FirstLayer",
    "Phi",
    "PiecewiseLinearMap",
    "Span",
    "adaptive_descent",
    "adaptive_rates",
    "adaptive_step_bound",
    "attractor_count",
    "attractors",
    "check_assumptions",
    "contraction_matrices",
    "convolution_matrix",
    "depth_lower_bound",
    "forced_zero_pattern",
    "gaussian_limit_matrices",
    "gradient_descent_solution",
    "heuristic_depth",
    "is_solvable",
    "limit_radius",
    "loss_floor",
    "memorization_gap",
    "minimum_norm_preimage",
    "minimum_norm_solution",
    "orthogonal_second_layer",
    "parameter_count",
    "phi_named",
    "piecewise_linear_map",
    "random_features",
    "rank_counterexample",
    "rank_of_examples",
    "rank_of_solution",
    "register_phi",
    "second_layer",
    "singular_value_bound",
    "span_of",
    "spectral_radii",
    "step_bound",
    "trained_filter",
    "trained_operator",
    "unmemorizable_vector",
    "upsampling_matrix",
]
