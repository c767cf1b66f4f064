r"""Test many statistics at once whether members differ from controls, by permutations of membership.

If the network treats members as it treats controls, who is a member could be drawn anew without any difference. Each
statistic is compared with its values at such draws, and the smallest of their p-values with the smallest ones at the
same draws (Westfall and Young: Resampling-based multiple testing, 1993). Statistics that say the same cost nothing
then, and no assumption is made on how they depend on each other.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError, NonFiniteError

PERMUTATIONS = 9999
"""Draws of membership; with the true one, p-values are multiples of 1e-4."""
BLOCK = 2**22
"""Numbers that are drawn at one time."""


@dataclass(frozen=True)
class PermutationTest:
    """Hold p-values that hold for all statistics together; made by :func:`permutation_test`."""

    p_value: float
    """Of all statistics together, the smallest adjusted one: where membership does not matter, it is at or below a
    level with at most this probability."""
    adjusted: Float[Tensor, " statistics"]
    """Of each statistic, adjusted for the number of statistics in one step: that any of them is at or below a level by
    chance has at most this probability."""
    unadjusted: Float[Tensor, " statistics"]
    """Of each statistic by itself."""
    permutations: int
    """Draws of membership, without the true one."""

    @property
    def floor(self) -> float:
        """Return the smallest p-value that this number of draws can give, which one statistic alone can reach."""
        return 1 / (self.permutations + 1)


def permutation_test(
    values: Float[Tensor, "statistics images"],
    is_member: Bool[Tensor, " images"],
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> PermutationTest:
    r"""Test whether the sum of some value over the members is larger than if the members had been drawn at random.

    Statistic k is :math:`T_k = \sum_i v_{ki}` over the members. With ranks as values it is the test of Mann, Whitney
    and Wilcoxon, with zeros and ones it is Fisher's. Draw 0 is the true membership, draws 1 to B are uniform among all
    choices of as many members. The p-value of statistic k at draw b is the share of draws with at least its value,
    :math:`p_{kb} = \#\{c : T_{kc} \ge T_{kb}\} / (B + 1)`. The adjusted p-value of statistic k is the share of draws
    with :math:`\min_l p_{lb} \le p_{k0}`.

    Args:
        values: What is summed, one row a statistic. It must not depend on who is a member. Each row is computed with in
            float64; sums that are equal in exact arithmetic must be equal there, as those of ranks are.
        is_member: The true membership.
        permutations: Draws of membership, B.
        seed: Seed of the draws.

    Returns:
        Memory for all draws of all statistics; time of B times as many additions as there are values.

    Raises:
        ValueError: No member or no control, values that are not finite, ``permutations`` below 1.

    Example:
        >>> values = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
        >>> found = permutation_test(values, torch.tensor([True, True, False, False]))
        >>> found.unadjusted.round(decimals=1)  # one of six choices has 4 + 3 = 7, five have one 1 or more
        tensor([0.2000, 0.8000], dtype=torch.float64)
    """
    if values.ndim != 2 or is_member.shape != values.shape[1:]:
        raise InvalidArgumentError(
            f"values must be (statistics, images) with one membership an image, got {tuple(values.shape)} and "
            f"{tuple(is_member.shape)}."
        )
    if not values.isfinite().all():
        raise NonFiniteError("values hold NaN or infinity; pass ranks, which are finite.")
    members = int(is_member.sum())
    if not 0 < members < len(is_member) or permutations < 1:
        raise InvalidArgumentError(
            f"a test compares members with controls, by at least one draw, got {members} members, "
            f"{len(is_member) - members} controls and {permutations} draws."
        )
    values = values.double().cpu()
    own = values @ is_member.double().cpu()
    return compare_with_draws(torch.cat([own[:, None], _draw_sums(values, members, permutations, seed)], 1))


def compare_with_draws(sums: Float[Tensor, "statistics draws"]) -> PermutationTest:
    """Compare the first draw, the true membership, with all draws, itself included."""
    p_values = _share_at_least(sums)
    smallest = p_values.amin(0).sort().values
    # The share of draws whose smallest p-value is at or below the p-value of the true membership.
    adjusted = torch.searchsorted(smallest, p_values[:, 0].contiguous(), right=True).double() / len(smallest)
    return PermutationTest(adjusted.min().item(), adjusted, p_values[:, 0].clone(), sums.shape[1] - 1)


def _draw_sums(values: Tensor, members: int, draws: int, seed: int) -> Tensor:
    """Sum each row of values over members that are drawn at random, once a draw."""
    generator = torch.Generator().manual_seed(seed)
    images = values.shape[1]
    sums = []
    for block in torch.arange(draws).split(max(1, BLOCK // images)):
        # The members of a draw are the images with the smallest of independent random numbers.
        keys = torch.rand(len(block), images, generator=generator, dtype=torch.float64)
        threshold = keys.kthvalue(members, dim=1, keepdim=True).values
        sums.append(values @ (keys <= threshold).double().T)
    return torch.cat(sums, 1)


def _share_at_least(sums: Float[Tensor, "statistics draws"]) -> Float[Tensor, "statistics draws"]:
    """Compute for each draw the share of draws with at least its sum."""
    ascending = sums.sort(dim=1).values
    below = torch.searchsorted(ascending, sums)
    return (sums.shape[1] - below).double() / sums.shape[1]
