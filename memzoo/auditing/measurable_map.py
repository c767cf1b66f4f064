"""Prepare a module or a callable for measurement: a self-map without gradients, left as it was afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from memzoo._checks import check_map, check_module
from memzoo._generators import keep_generators_unchanged
from memzoo._module_state import keep_module_unchanged
from memzoo._types import Map
from memzoo.dynamics.tracing import enter_map, promote_to_float64
from memzoo.modules import Adapter, evaluation_mode, find_self_map, like_parameters


@contextmanager
def open_map(module: nn.Module | Map, self_map: Adapter | None, points: Tensor) -> Iterator[tuple[Map, Tensor]]:
    """Yield ``(f, points)`` that fit together, in eval mode and without gradients; leave the module as it was.

    The global generators are put back, also where ``forward`` draws from them. The points are on the device of the
    parameters, and flattened where the module takes vectors.

    Raises:
        NotASelfMapError: ``f`` does not return the shape of its input, or returns different values for equal inputs.
        InvalidArgumentError: A lazy layer has no parameters yet.
    """
    if isinstance(module, nn.Module):
        with evaluation_mode(module), keep_generators_unchanged():
            check_module(module)  # before an evaluation, which would make the parameters of lazy layers
            f, points = find_self_map(module, self_map, like_parameters(points, module))
            check_map(f, points, promote_to_float64)
            yield f, points
        return
    f = module if self_map is None else lambda x: self_map(module, x)  # pyright: ignore[reportArgumentType]
    with torch.no_grad(), keep_module_unchanged(f), keep_generators_unchanged():
        f = enter_map(f, points)
        check_map(f, points, promote_to_float64)
        yield f, points
