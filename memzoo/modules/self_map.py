"""Find the self-map of a LightningModule: a map from batches to batches of the same shape."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from memzoo._attempt import Attempt, is_out_of_memory
from memzoo._checks import apply_map
from memzoo.dynamics.tracing import enter_map
from memzoo.errors import NotASelfMapError

Adapter = Callable[[nn.Module, Tensor], Tensor]
"""``self_map(module, x)`` returns the reconstruction of a batch."""


class Adapted(nn.Module):
    """See a module through an adapter, so that its parameters stay visible to the measurements in float64."""

    module: nn.Module
    adapter: Adapter

    def __init__(self, module: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.module = module
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a batch."""
        return self.adapter(self.module, x)

    def _get_name(self) -> str:
        return f"self_map of {type(self.module).__name__}"


def find_self_map(module: nn.Module, adapter: Adapter | None, examples: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a map and examples that fit together: the module or its adapter, on the examples as they are or flattened.

    Many modules flatten images in ``training_step`` and take vectors in ``forward``.

    Raises:
        NotASelfMapError: The map gives back the shape of its input neither for the examples nor for flattened ones.
    """
    adapted = module if adapter is None else Adapted(module, adapter)
    f: nn.Module = adapted
    # One example tells: rows do not interact.
    try:
        f = enter_map(adapted, examples[:1])
        apply_map(f, examples[:1])
    except Exception as error:
        if is_out_of_memory(error):  # this says nothing about the map
            raise
        flat = examples.flatten(1)
        of_vectors = _find_map_of_vectors(adapted, flat[:1]) if examples.ndim > 2 else None
        if of_vectors is not None:
            return of_vectors, flat
        what = "forward" if adapter is None else "self_map"
        raise NotASelfMapError(
            f"{what} of {type(module).__name__} is no self-map of the tracked examples {tuple(examples.shape[1:])}: "
            f"{error} Pass self_map=lambda module, x: ... that returns the reconstruction of a batch x, in the space "
            "of x, or examples= in the space that forward takes."
        ) from error
    return f, examples


def _find_map_of_vectors(module: nn.Module, points: Tensor) -> nn.Module | None:
    """Return a module as a map of these points; None if it does not take them or returns another shape."""
    with Attempt(Exception):
        f = enter_map(module, points)
        apply_map(f, points)
        return f
    return None


def like_parameters(points: Tensor, module: nn.Module) -> Tensor:
    """Return the points on the device of the module's parameters, in float64 if these are, else in float32."""
    parameter = next(module.parameters(), points)
    return points.to(parameter.device, torch.float64 if parameter.dtype == torch.float64 else torch.float32)
