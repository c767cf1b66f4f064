"""Check products with a Jacobian against differences of the map itself."""

from memzoo.dynamics.spectra.checking.probe import evaluate_rows
from memzoo.dynamics.spectra.checking.steps import allow_rounding, describe_surroundings, draw_pairs
from memzoo.dynamics.spectra.checking.verdict import Check, Derivative, DerivativeCheck

__all__ = [
    "Check",
    "Derivative",
    "DerivativeCheck",
    "allow_rounding",
    "describe_surroundings",
    "draw_pairs",
    "evaluate_rows",
]
