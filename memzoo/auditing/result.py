"""Hold what an audit found: tensors, counts and confidence intervals.

The files ``verdict``, ``record``, ``page`` and ``folder`` take these results and write them as text, JSON and HTML.
"""

from dataclasses import dataclass
from functools import cached_property
from statistics import median

from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.auditing.baseline import error_auc
from memzoo.auditing.pictures import find_value_range
from memzoo.auditing.significance import fisher_exact
from memzoo.dynamics import Attractors, Share, wilson

NearCopies = tuple[tuple[str, int], ...]
"""Images that are near-copies of each other, each as ``("member", i)`` or ``("control", i)``."""
CHANCE = 0.05
"""A difference whose p-value is not below this level may be chance."""


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
    def median_step(self) -> float | None:
        """Return the median step of recovery among the images that came out; None if none did."""
        steps = self.recovered_at[self.ever_recovered].tolist()
        return median(steps) if steps else None


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

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Return the values that pictures show as black and white, equal for all pictures of the report."""
        return find_value_range(self.starts if self.members is None else self.members.images)

    @cached_property
    def recovered_p(self) -> float | None:
        """Return the one-sided p-value of Fisher's exact test on the recovered images; None without controls.

        The test compares members with controls, near-copies counted once.
        """
        return self._p_value("recovered")

    @cached_property
    def ever_recovered_p(self) -> float | None:
        """Return the same p-value for the images that came out at any step."""
        return self._p_value("ever_recovered")

    @cached_property
    def attractor_p(self) -> float | None:
        """Return the same p-value for the certified attractors."""
        return self._p_value("attractor")

    def _p_value(self, name: str) -> float | None:
        """Compare the number of members with the number of controls for which the flag ``name`` is set."""
        if self.members is None or self.controls is None:
            return None
        of_members = self.members.count_images(getattr(self.members, name))
        of_controls = self.controls.count_images(getattr(self.controls, name))
        return fisher_exact(of_members, self.members.count, of_controls, self.controls.count)

    @cached_property
    def error_auc(self) -> float | None:
        """Return how well the reconstruction error alone tells members from controls; None without controls.

        0.5 is chance, 1 is certainty.
        """
        if self.members is None or self.controls is None:
            return None
        return error_auc(self.members.error, self.controls.error)
