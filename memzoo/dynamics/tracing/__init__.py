"""A map as a traced graph: its narrowest cut, the same map in float64, the same sums in a faster order."""

from memzoo.dynamics.tracing.fast_convolution import agree, rearranged_in_dtype, rearranged_map
from memzoo.dynamics.tracing.latent import LatentMap, OutputRange, latent_map, output_range
from memzoo.dynamics.tracing.minimum_cut import Anatomy, HasCut, anatomy, declared_cut, narrow_enough
from memzoo.dynamics.tracing.precision import in_dtype, leave_clean, tensors_of, widened
from memzoo.dynamics.tracing.traced_graph import traced

__all__ = [
    "Anatomy",
    "HasCut",
    "LatentMap",
    "OutputRange",
    "agree",
    "anatomy",
    "declared_cut",
    "in_dtype",
    "latent_map",
    "leave_clean",
    "narrow_enough",
    "output_range",
    "rearranged_in_dtype",
    "rearranged_map",
    "tensors_of",
    "traced",
    "widened",
]
