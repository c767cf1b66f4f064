"""What every caller needs of a user's module: its self-map, evaluation mode, the inputs of a batch."""

from memzoo.modules.evaluation import evaluation_mode
from memzoo.modules.inputs import has_rows, input_of, matching_noise, read_rows
from memzoo.modules.self_map import Adapter, find_self_map, like_parameters

__all__ = [
    "Adapter",
    "evaluation_mode",
    "find_self_map",
    "has_rows",
    "input_of",
    "like_parameters",
    "matching_noise",
    "read_rows",
]
