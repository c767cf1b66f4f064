"""Products with the Jacobians at a batch of points."""

from typing import NamedTuple

from memzoo._types import Map


class Products(NamedTuple):
    """Products with the Jacobians at a batch of points, for stacks (m, B, dim) of vectors."""

    push: Map
    """J v."""
    pull: Map
    """J^T u."""
