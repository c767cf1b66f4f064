"""The map of a module or of a callable, for as long as it is measured."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from memzoo._checks import apply_map
from memzoo._types import Map
from memzoo.modules import Adapter, check_repeats, evaluation_mode, find_self_map, like_parameters


@contextmanager
def measured(module: nn.Module | Map, self_map: Adapter | None, points: Tensor) -> Iterator[tuple[Map, Tensor]]:
    """``(f, points)`` that fit together, in eval mode and without gradients; the module is left as it was.

    The global generator is put back, also where a forward draws from it. Points come on the device of the parameters,
    flattened where the module takes vectors.

    Raises:
        NotASelfMapError: ``f`` does not give back the shape that went in, or not the same values twice.
    """
    if isinstance(module, nn.Module):
        with evaluation_mode(module), torch.random.fork_rng(devices=[]):
            f, points = find_self_map(module, self_map, like_parameters(points, module))
            check_repeats(f, points)
            yield f, points
        return
    adapter = self_map
    f = module if adapter is None else lambda x: adapter(module, x)  # pyright: ignore[reportArgumentType]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        apply_map(f, points[:1])
        check_repeats(f, points)
        yield f, points
