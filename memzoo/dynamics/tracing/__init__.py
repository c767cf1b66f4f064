"""A map as a traced graph: its narrowest cut, the same map in float64, the same sums in a faster order."""

from memzoo.dynamics.tracing.bare_operations import trace_bare_operations
from memzoo.dynamics.tracing.fast_convolution import (
    accelerate_convolutions,
    accelerate_convolutions_in_dtype,
    outputs_agree,
)
from memzoo.dynamics.tracing.latent import LatentMap, OutputRange, latent_map, output_range
from memzoo.dynamics.tracing.minimum_cut import HasCut, read_declared_cut
from memzoo.dynamics.tracing.precision import (
    CastMap,
    cast_map,
    cast_tensors,
    collect_tensors,
    promote_to_float64,
)
from memzoo.dynamics.tracing.traced_graph import TracedGraph, trace_map
from memzoo.dynamics.tracing.widened import (
    Widened,
    enter_map,
    leave_no_trace,
    leave_no_trace_of_half,
    widen_module,
    widen_points,
)

__all__ = [
    "CastMap",
    "HasCut",
    "LatentMap",
    "OutputRange",
    "TracedGraph",
    "Widened",
    "accelerate_convolutions",
    "accelerate_convolutions_in_dtype",
    "cast_map",
    "cast_tensors",
    "collect_tensors",
    "enter_map",
    "latent_map",
    "leave_no_trace",
    "leave_no_trace_of_half",
    "output_range",
    "outputs_agree",
    "promote_to_float64",
    "read_declared_cut",
    "trace_bare_operations",
    "trace_map",
    "widen_module",
    "widen_points",
]
