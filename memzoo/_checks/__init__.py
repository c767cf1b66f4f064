"""Check arguments and maps, for all layers; each error says what came, what was needed and what to do."""

from memzoo._checks.arguments import HALF, check_batch, check_eps, check_same_shape, check_steps
from memzoo._checks.layers import check_layer, check_module
from memzoo._checks.maps import apply_map, check_map

__all__ = [
    "HALF",
    "apply_map",
    "check_batch",
    "check_eps",
    "check_layer",
    "check_map",
    "check_module",
    "check_same_shape",
    "check_steps",
]
