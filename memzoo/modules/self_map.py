"""The self-map of a LightningModule."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from memzoo._checks import apply_map
from memzoo._types import Map
from memzoo.dynamics.tracing import cast_map
from memzoo.errors import NotASelfMapError

Adapter = Callable[[nn.Module, Tensor], Tensor]
"""``self_map(module, x)``: the reconstruction of a batch."""
REPEATS = 1e-3  # relative


class Adapted(nn.Module):
    """A module seen through an adapter, so that its parameters stay visible to the float64 measurements."""

    module: nn.Module
    adapter: Adapter

    def __init__(self, module: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.module, self.adapter = module, adapter

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a batch."""
        return self.adapter(self.module, x)


class Widened(nn.Module):
    """A module of half-precision parameters, computing from copies of them in the precision of its input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a batch."""
        return cast_map(self.module, torch.float64 if x.dtype == torch.float64 else torch.float32)(x)


def find_self_map(module: nn.Module, adapter: Adapter | None, examples: Tensor) -> tuple[nn.Module, Tensor]:
    """``(map, examples)`` that fit together: the module or its adapter, on the examples as they are or flattened.

    Many modules flatten images in ``training_step`` and take vectors in ``forward``.

    Raises:
        NotASelfMapError: Neither gives back the shape that went in.
    """
    f = module if adapter is None else Adapted(module, adapter)
    if any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in module.parameters()):  # measured wider
        f = Widened(f)
    try:
        apply_map(f, examples[:1])
    except torch.OutOfMemoryError:  # says nothing of the map
        raise
    except Exception as error:
        if examples.ndim > 2:
            try:
                apply_map(f, examples[:1].flatten(1))
            except Exception:
                pass
            else:
                return f, examples.flatten(1)
        what = "forward" if adapter is None else "self_map"
        raise NotASelfMapError(
            f"{what} of {type(module).__name__} is no self-map of the tracked examples {tuple(examples.shape[1:])}: "
            f"{error} Pass self_map=lambda module, x: ... that returns the reconstruction of a batch x, in the space "
            "of x, or examples= in the space that forward takes."
        ) from error
    return f, examples


def check_repeats(f: Map, points: Tensor) -> None:
    """A map has one value at a point.

    Raises:
        NotASelfMapError: Two evaluations at the first point differ by more than the order of sums on a GPU explains.
    """
    once, again = f(points[:1]), f(points[:1])
    if (once - again).norm() > REPEATS * once.norm():
        raise NotASelfMapError(
            "the module gives two answers to one image, although it is in eval mode: it draws at random, as a "
            "variational autoencoder does. Pass self_map=lambda module, x: ... that decodes the mean of its code."
        )


def like_parameters(points: Tensor, module: nn.Module) -> Tensor:
    """Points on the device of the module's parameters, in float64 where they are."""
    parameter = next(module.parameters(), points)
    return points.to(parameter.device, torch.float64 if parameter.dtype == torch.float64 else torch.float32)
