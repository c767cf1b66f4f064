"""Group equal examples: exact duplicates count as one example."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROWS = 256
"""Rows that are copied at one time."""


class ExampleGroups(NamedTuple):
    """Sets of examples that count as one, in the order of their first members."""

    first: Int[Tensor, " m"]
    """The first example of each set."""
    group: Int[Tensor, " n"]
    """The set that each example belongs to."""


def group_duplicates(examples: Float[Tensor, "n *shape"]) -> ExampleGroups:
    """Group the examples that are equal in every value."""
    known: dict[bytes, int] = {}
    first_equal: list[int] = []
    for rows in examples.flatten(1).split(ROWS):
        # Adding 0.0 turns -0.0 into 0.0, so that equal values have equal bytes.
        for row in (rows + 0.0).contiguous().cpu().view(torch.uint8).numpy():
            first_equal.append(known.setdefault(row.tobytes(), len(first_equal)))
    return ExampleGroups(*torch.tensor(first_equal, device=examples.device).unique(return_inverse=True))


def find_first_members(group: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Find for each entry the index of the first one with the same number.

    Example:
        >>> find_first_members(torch.tensor([7, 3, 7, 3, 5]))
        tensor([0, 1, 0, 1, 4])
    """
    _, place = group.unique(return_inverse=True)
    every_row = torch.arange(len(group), device=group.device)
    return every_row.scatter_reduce(0, place, every_row, "amin", include_self=False)[place]


def select_distinct(examples: Float[Tensor, "n *shape"]) -> Float[Tensor, "m *shape"]:
    """Select the first of each set of equal examples."""
    first = group_duplicates(examples).first
    return examples if len(first) == len(examples) else examples[first]
