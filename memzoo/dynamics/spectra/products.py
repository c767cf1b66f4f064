"""Products with the Jacobians at a batch of points."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor

from memzoo._types import Map


class Products(NamedTuple):
    """Products with the Jacobians at a batch of points, for stacks (m, B, dim) of vectors."""

    push: Map
    """J v."""
    pull: Map
    """J^T u."""
    narrow: "Callable[[Int[Tensor, ' m']], Products]"
    """Returns the products at some of the points, given by their rows."""
