"""Hold what an audit found: tensors, counts and confidence intervals.

The files ``verdict``, ``record``, ``page`` and ``folder`` take these results and write them as text, JSON and HTML.
"""

from dataclasses import dataclass
from functools import cached_property
from statistics import median

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.auditing.baseline import error_auc
from memzoo.auditing.battery import Battery
from memzoo.auditing.pictures import find_value_range
from memzoo.auditing.significance import adjust_by_holm, fisher_exact
from memzoo.dynamics import Attractors, Share, wilson

NearCopies = tuple[tuple[str, int], ...]
"""Images that are near-copies of each other, each as ``("member", i)`` or ``("control", i)``."""
CHANCE = 0.05
"""A difference whose adjusted p-value is not below this level may be chance."""
TESTED = ("ever_recovered", "recovered", "attractor")
"""Flags of :class:`Judged` in which members are compared with controls."""


@dataclass(frozen=True)
class Judged:
    """Hold the measurements of one group of images, members or controls; one row an image.

    All groups of an audit are measured on the same orbits. Shares count near-copies of each other as one image, which
    has what one of its copies has.
    """

    images: Float[Tensor, "n *shape"]
    eps: Float[Tensor, " n"]
    """Radius of recovery, L2."""
    copy_of: Int[Tensor, " n"]
    """The first image of the group that this one is a near-copy of, itself for most images."""
    recovered: Bool[Tensor, " n"]
    """Whether the orbit of some start is within ``eps`` of the image at the last step, as in :math:`R_T`."""
    recovered_at: Int[Tensor, " n"]
    """First step at which the orbit of some start is within ``eps`` of the image; -1 for never."""
    start: Int[Tensor, " n"]
    """The start whose orbit is nearest at that step; -1 where never recovered."""
    reached: Float[Tensor, "n *shape"]
    """The point of that orbit at that step; NaN where never recovered."""
    distance: Float[Tensor, " n"]
    """L2 distance from that point to the image; NaN where never recovered."""
    attractor: Bool[Tensor, " n"]
    """Whether the image is a certified attractor, as by :func:`memzoo.dynamics.certify`."""
    offset: Float[Tensor, " n"]
    """L2 distance from the image to the limit of its own orbit."""
    residual: Float[Tensor, " n"]
    """L2 norm of f(x) - x at that limit."""
    radius: Float[Tensor, " n"]
    """Spectral radius of the Jacobian at that limit; NaN where the limit is no fixed point."""
    radius_error: Float[Tensor, " n"]
    """Error bound of the spectral radius."""
    error: Float[Tensor, " n"]
    """Reconstruction error of the image itself, L2 norm of f(x) - x."""

    @property
    def ever_recovered(self) -> Bool[Tensor, " n"]:
        """Tell of each image whether it came out of the network: at the last step or before."""
        return self.recovered_at >= 0

    @property
    def count(self) -> int:
        """Return the number of images, near-copies counted once."""
        return len(self.copy_of.unique())

    def count_images(self, flags: Bool[Tensor, " n"]) -> int:
        """Return the number of images for which a flag is set, near-copies counted once."""
        return len(self.copy_of[flags].unique())

    def share(self, flags: Bool[Tensor, " n"]) -> Share:
        """Return the share of images for which a flag is set, with its Wilson interval at 95 %."""
        return wilson(self.count_images(flags), self.count)

    @property
    def recovered_share(self) -> Share:
        """Return the share of images that are recovered at the last step."""
        return self.share(self.recovered)

    @property
    def ever_recovered_share(self) -> Share:
        """Return the share of images that came out, at the last step or before."""
        return self.share(self.ever_recovered)

    @property
    def attractor_share(self) -> Share:
        """Return the share of certified attractors."""
        return self.share(self.attractor)

    @property
    def first_step(self) -> Int[Tensor, " images"]:
        """Return the first step at which each image came out, near-copies as one; -1 for never."""
        never = self.recovered_at.max() + 1
        step = torch.where(self.ever_recovered, self.recovered_at, never)
        first = self._combine_copies(step, "amin")
        return torch.where(first < never, first, -1)

    @property
    def image_error(self) -> Float[Tensor, " images"]:
        """Return the reconstruction error of each image; of near-copies it is their mean, which favours none."""
        return self._combine_copies(self.error, "mean")

    @property
    def median_step(self) -> float | None:
        """Return the median step of recovery among the images that came out; None if none did."""
        steps = self.first_step
        return median(steps[steps >= 0].tolist()) if (steps >= 0).any() else None

    def _combine_copies(self, values: Tensor, how: str) -> Tensor:
        """Combine the values of near-copies into one for each image, in the order of the first copies."""
        first, place = self.copy_of.unique(return_inverse=True)
        return values.new_zeros(len(first)).scatter_reduce(0, place, values, how, include_self=False)


@dataclass(frozen=True)
class Findings:
    """Hold the numbers of an audit; :class:`memzoo.auditing.Audit` also says, shows and saves them."""

    members: Judged | None
    """The training images; None for an audit without them."""
    controls: Judged | None
    """Images that were not trained on; None if none were given."""
    starts: Float[Tensor, "batch *shape"]
    """Where the orbits began, without those left out."""
    attractors: Attractors
    """Where the orbits ended, whatever the network was trained on."""
    owner: tuple[tuple[str, int] | None, ...]
    """For each attractor the image within whose ``eps`` it lies: ``("member", i)`` or ``("control", i)``, or None."""
    near_copies: tuple[NearCopies, ...]
    """Groups of images that are near-copies of each other, by their rows; most often there are none."""
    eps: float
    """Median radius of recovery over members and controls, L2: the scale on which the ends of orbits are told apart.
    :attr:`Judged.eps` has the radius of each image."""
    eps_from: str
    """How ``eps`` was chosen, in words."""
    starts_from: str
    """What the starts are, in words."""
    left_out: int
    """Number of starts that lay within ``eps`` of an image before the first step, and were not used."""
    steps: int
    """Iterations of each start; the certificates and the attractors take up to five times as many."""
    seed: int
    """Seed of the noise."""
    title: str
    """Name of the module's class."""
    notes: tuple[str, ...]
    """What weakens the claims, in sentences: a reader of the numbers has to know it."""
    battery: Battery | None = None
    """What further attacks found; None unless they were asked for."""

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Return the values that pictures show as black and white, equal for all pictures of the report."""
        return find_value_range(self.starts if self.members is None else self.members.images)

    @cached_property
    def p_values(self) -> dict[str, float]:
        """Return the p-value of each tested flag of :class:`Judged` by its name; empty without controls.

        Each is that of Fisher's exact test, one-sided, of members against controls, near-copies counted once, and is
        adjusted for the number of tests by Holm's method: that any of them falls below a level by chance has at most
        this probability.
        """
        if self.members is None or self.controls is None:
            return {}
        found = []
        for name in TESTED:
            of_members = self.members.count_images(getattr(self.members, name))
            of_controls = self.controls.count_images(getattr(self.controls, name))
            found.append(fisher_exact(of_members, self.members.count, of_controls, self.controls.count))
        return dict(zip(TESTED, adjust_by_holm(found), strict=True))

    @property
    def recovered_p(self) -> float | None:
        """Return the adjusted p-value of the images recovered at the last step; None without controls."""
        return self.p_values.get("recovered")

    @property
    def ever_recovered_p(self) -> float | None:
        """Return the adjusted p-value of the images that came out at any step; None without controls."""
        return self.p_values.get("ever_recovered")

    @property
    def attractor_p(self) -> float | None:
        """Return the adjusted p-value of the certified attractors; None without controls."""
        return self.p_values.get("attractor")

    @cached_property
    def error_auc(self) -> float | None:
        """Return how well the reconstruction error alone tells members from controls; None without controls.

        0.5 is chance, 1 is certainty; near-copies count once.
        """
        if self.members is None or self.controls is None:
            return None
        return error_auc(self.members.image_error, self.controls.image_error)
