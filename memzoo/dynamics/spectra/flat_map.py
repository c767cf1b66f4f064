"""A map as a function of flat rows."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.tracing import CastMap

Result = TypeVar("Result")


class FlatMap:
    """A map as a function from one flat row to one flat row, and as one of batches of flat rows.

    Args:
        f: Map of batches.
        shape: Shape of one point.
    """

    def __init__(self, f: Map, shape: Sequence[int]) -> None:
        self.f: Map = f
        self.shape: tuple[int, ...] = tuple(shape)

    def __call__(self, row: Tensor) -> Tensor:
        """Evaluate the map at one row."""
        return self.f(row.reshape(1, *self.shape)).reshape(-1)

    def map_batch(self, rows: Tensor) -> Tensor:
        """Evaluate the map at all rows in one call."""
        return self.f(rows.reshape(-1, *self.shape)).reshape(len(rows), -1)

    @property
    def origin(self) -> object:
        """Return the module or the callable that the map was made from."""
        return self.f.module if isinstance(self.f, CastMap) else self.f

    @property
    def detached(self) -> bool:
        """Tell whether a backward pass reaches the input alone, and no parameter of the user's."""
        return isinstance(self.f, CastMap) and self.f.detached

    def run(self, function: Callable[[], Result]) -> Result:
        """Call a function while the module holds the tensors that the map is evaluated with.

        A backward pass may evaluate parts of the module again, as gradient checkpointing does.
        """
        return self.f.run(function) if isinstance(self.f, CastMap) else function()


def flatten_map(f: Map, shape: Sequence[int]) -> FlatMap:
    """Return ``f`` as a function from one flat row to one flat row; ``shape`` is that of a point."""
    return FlatMap(f, shape)
