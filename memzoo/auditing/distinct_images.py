"""Count near-copies as one image, and leave out controls that are near-copies of members."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.errors import AuditInputError


@dataclass(frozen=True)
class Images:
    """Hold the images of both groups, members first, and which of them count as one."""

    points: Float[Tensor, "n *dim"]
    """As points that the network takes."""
    shape: torch.Size
    """Shape of one image as it was given."""
    eps: Float[Tensor, " n"]
    copy_of: Int[Tensor, " n"]
    """Images of equal numbers are near-copies of each other, and count once."""
    members: int
    """How many of them are members."""


@dataclass(frozen=True)
class DistinctImages:
    """Hold the images that count: near-copies are one, and controls that are near-copies of members are left out."""

    rows: Int[Tensor, " n"]
    """The unit of each image, -1 if it is left out."""
    is_member: Bool[Tensor, " units"]
    given: int
    """Number of members as they were given, near-copies included."""
    left_out: int
    """Controls that are near-copies of members."""

    @property
    def members(self) -> int:
        """Return the number of members."""
        return int(self.is_member.sum())

    @property
    def controls(self) -> int:
        """Return the number of controls."""
        return len(self.is_member) - self.members

    def find_rows(self, flags: Bool[Tensor, " units"]) -> tuple[int, ...]:
        """Return the first image of each unit that has a flag, by its row among all images."""
        return tuple(int((self.rows == unit).nonzero()[0]) for unit in flags.nonzero().flatten().tolist())

    def combine_scores(self, scores: Tensor) -> Tensor:
        """Return the mean score of the near-copies of each unit, which favours none."""
        kept = self.rows >= 0
        sums = torch.zeros(len(self.is_member), dtype=torch.float64)
        means = sums.scatter_reduce(0, self.rows[kept], scores.double().cpu()[kept], "mean", include_self=False)
        return torch.where(means.isnan(), -torch.inf, means)

    def combine_flags(self, flags: Tensor) -> Tensor:
        """Tell of each unit whether one of its near-copies has a flag."""
        kept = self.rows >= 0
        found = torch.zeros(len(self.is_member), dtype=torch.bool)
        found[self.rows[kept & flags.cpu()]] = True
        return found


def find_distinct(images: Images) -> DistinctImages:
    """Find which images count as one, members first."""
    copy_of = images.copy_of.cpu()
    member_groups = copy_of[: images.members].unique()
    of_controls = copy_of[images.members :]
    is_copy = torch.isin(of_controls, member_groups)
    groups = torch.cat([member_groups, of_controls[~is_copy].unique()])
    if len(groups) == len(member_groups):
        raise AuditInputError(
            f"all {len(of_controls)} controls are near-copies of members; take controls that were not trained on."
        )
    place = torch.full((int(copy_of.max()) + 1,), -1)
    place[groups] = torch.arange(len(groups))
    rows = place[copy_of]
    rows[images.members :][is_copy] = -1
    return DistinctImages(rows, torch.arange(len(groups)) < len(member_groups), images.members, int(is_copy.sum()))
