"""What every caller needs of a user's module: its self-map, evaluation mode, the inputs of a batch."""

from memzoo.modules.code_map import CodeMap, code_map
from memzoo.modules.denoiser import Denoiser, denoiser
from memzoo.modules.evaluation import evaluation_mode
from memzoo.modules.inputs import batch_of_first, count_loaders, draw_in_domain, input_of, matching_noise
from memzoo.modules.reservoir import NAMES, POOL, Reservoir, Sample, join_samples
from memzoo.modules.self_map import Adapter, find_self_map, like_parameters
from memzoo.modules.wrappers import find_module

__all__ = [
    "NAMES",
    "POOL",
    "Adapter",
    "CodeMap",
    "Denoiser",
    "Reservoir",
    "Sample",
    "batch_of_first",
    "code_map",
    "count_loaders",
    "denoiser",
    "draw_in_domain",
    "evaluation_mode",
    "find_module",
    "find_self_map",
    "input_of",
    "join_samples",
    "like_parameters",
    "matching_noise",
]
