"""Derive the radius within which a point counts as an example: one for each example, from its own surroundings.

A radius that all examples share is as small as the closest pair of them makes it. Two near-copies of one image, such as
a file that was encoded twice, would then hide what a network stores of all others. Here the radius of an example
depends on its own nearest other example, and near-copies of each other count as one.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_eps
from memzoo._user_warning import warn_user
from memzoo.dynamics.orbits.distance import decide_pairs, default_eps, nearest_outside, spread_eps
from memzoo.dynamics.orbits.distance_bounds import DistanceBounds
from memzoo.dynamics.orbits.duplicates import ExampleGroups, group_duplicates
from memzoo.errors import InvalidArgumentError

SHARE = 0.1
"""eps in units of the distance to the nearest other example."""
NEAR_COPY = 0.1
"""Examples nearer to each other than this share of the median nearest distance are near-copies."""


@torch.no_grad()
def example_eps(examples: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
    r"""Derive a radius for each example: a tenth of the distance to its nearest other example.

    Let :math:`d_i` be the distance of example i to the nearest example outside its group of near-copies
    (:func:`group_near_copies`), and :math:`e_i = 0.1 \min_j d_j` over the members j of its group, which is itself alone
    in most data. Then :math:`e_i + e_k \le 0.2 \|x_i - x_k\|` for any two examples of different groups: their balls are
    disjoint, and the nearest example of a point within :math:`e_i` of i is i, or a near-copy of i. All members of a
    group have the same radius. No radius is below :func:`memzoo.dynamics.default_eps` of the same examples.

    Exact duplicates count once, with a warning. A single example has :math:`0.05 \|x\|`.

    Args:
        examples: All examples that are known; more examples can only lower the radii, unless they change which
            examples are near-copies.

    Returns:
        The radii, L2, in float64. Time :math:`O(n^2 d)`, by matrix products; memory for one block of distances.

    Raises:
        NonFiniteError: The examples hold NaN or infinity.
        ValueError: There is only one distinct example, and it is zero everywhere.

    Example:
        >>> example_eps(torch.tensor([[0.0], [1.0], [5.0], [9.0], [9.001]]))
        tensor([0.1000, 0.1000, 0.4000, 0.4000, 0.4000], dtype=torch.float64)
    """
    check_batch(examples, "examples")
    first, duplicate = group_duplicates(examples)
    if len(first) < len(examples):
        warn_user(
            f"{len(examples) - len(first)} of {len(examples)} examples are exact duplicates of others; eps is derived "
            "from the distinct ones.",
        )
    distinct = examples[first]
    if len(first) == 1:
        radius = torch.tensor([default_eps(distinct)], dtype=torch.float64, device=examples.device)
        return radius[duplicate]
    flat = distinct.flatten(1)
    distance, group = _measure_and_link(flat)
    copies = (group.bincount()[group] > 1).nonzero().flatten()
    if len(copies):
        distance[copies] = nearest_outside(flat, group, copies)
    smallest = torch.full_like(distance, torch.inf).scatter_reduce(0, group, distance, "amin")
    return (SHARE * smallest[group])[duplicate]


@torch.no_grad()
def group_near_copies(examples: Float[Tensor, "n *shape"]) -> ExampleGroups:
    """Group the examples that are nearer to each other than a tenth of the median nearest distance.

    The median is over the distinct examples, of the distance of each to its nearest other one. Groups are those of
    single linkage: near-copies of a near-copy belong to the same group. Exact duplicates do, too. Most examples are
    groups of their own. If half of the examples have a near-copy, nothing is grouped, because near-copies are then the
    rule and not the exception.

    Args:
        examples: All examples that are known.

    Returns:
        The groups in the order of their first members. Time and memory are those of :func:`example_eps`.

    Example:
        >>> group_near_copies(torch.tensor([[0.0], [9.0], [1.0], [9.001], [5.0]])).group
        tensor([0, 1, 2, 1, 3])
    """
    check_batch(examples, "examples")
    first, duplicate = group_duplicates(examples)
    if len(first) == 1:
        return ExampleGroups(first, duplicate)
    _, group = _measure_and_link(examples[first].flatten(1))
    chosen, numbered = group.unique(return_inverse=True)
    return ExampleGroups(first[chosen], numbered[duplicate])


def resolve_eps(eps: float | Tensor | None, examples: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
    """Return a radius for each example, in float64 and on the device of the examples.

    Args:
        eps: One radius for all examples, one for each, or None for :func:`example_eps`.
        examples: The examples.

    Raises:
        InvalidArgumentError: A radius is not finite, or not above 0, or there is another number of them.
    """
    if eps is None:
        return example_eps(examples)
    check_eps(eps)
    if isinstance(eps, Tensor) and eps.ndim and len(eps) != len(examples):
        raise InvalidArgumentError(
            f"eps must be one number or one for each example, got {len(eps)} for {len(examples)} examples; "
            "memzoo.dynamics.example_eps derives them."
        )
    return spread_eps(eps, examples).clone()


def resolve_groups(
    group: Tensor | None, eps: float | Tensor | None, examples: Float[Tensor, "n *shape"]
) -> Int[Tensor, " n"]:
    """Return which examples count as one: those of equal numbers, on the device of the examples.

    Near-copies count as one where their radii are derived from the examples. Whoever gives radii decides with them
    what is different: then only exact duplicates count as one.

    Args:
        group: A number for each example, as the caller has it; None for the rule above.
        eps: Radii as the caller gave them; None if they are derived.
        examples: The examples.

    Raises:
        InvalidArgumentError: There is another number of entries in ``group`` than of examples.
    """
    if group is None:
        return (group_near_copies(examples) if eps is None else group_duplicates(examples)).group
    if group.shape != examples.shape[:1]:
        raise InvalidArgumentError(
            f"group must be one number for each example, got shape {tuple(group.shape)} for {len(examples)} examples; "
            "memzoo.dynamics.group_near_copies(examples).group derives them."
        )
    return group.to(examples.device).unique(return_inverse=True)[1]  # any numbers, negative or huge


def format_eps(eps: float | Tensor) -> str:
    """Format radii as ``least / median / most``, or as one number if they are all the same.

    Example:
        >>> format_eps(torch.tensor([1.0, 2.0, 4.0])), format_eps(0.5)
        ('1 / 2 / 4', '0.5')
    """
    radii = torch.as_tensor(eps, dtype=torch.float64).flatten()
    shown = [f"{value:.3g}" for value in (radii.min(), radii.quantile(0.5), radii.max())]
    return shown[0] if radii.min() == radii.max() else " / ".join(shown)


def _measure_and_link(flat: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
    """Return the distance of each row to the nearest other row, and its group: the first row that it is linked to.

    Args:
        flat: At least two rows, no two of them equal.
    """
    every_row = torch.arange(len(flat), device=flat.device)
    distance = nearest_outside(flat, every_row, every_row)
    threshold = NEAR_COPY * distance.quantile(0.5).item()
    near = (distance < threshold).nonzero().flatten()
    if not len(near):
        return distance, every_row
    group = every_row.clone()
    group[near] = near[_link_close_rows(flat[near], threshold)]
    return distance, group


def _link_close_rows(flat: Float[Tensor, "n d"], threshold: float) -> Tensor:
    """Return the first row that each row is linked to by rows closer to each other than ``threshold``."""
    group = torch.arange(len(flat), device=flat.device)
    done = 0
    for row, other, slack in decide_pairs(DistanceBounds(flat, threshold), flat, spread_eps(threshold, flat)):
        group = _join_groups(group, row + done, other)
        done += len(slack)
    return group


def _join_groups(group: Tensor, row: Tensor, other: Tensor) -> Tensor:
    """Join the groups of pairs of rows; a group is named by its first row."""
    while True:
        first = torch.minimum(group[row], group[other])
        joined = group.scatter_reduce(0, group[row], first, "amin").scatter_reduce(0, group[other], first, "amin")
        # A name may have been joined to an earlier one itself.
        while not torch.equal(joined, joined[joined]):
            joined = joined[joined]
        if torch.equal(joined, group):
            return group
        group = joined
