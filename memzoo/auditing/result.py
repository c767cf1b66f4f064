"""What an audit found: tensors, counts and intervals; how they are written is elsewhere."""

from dataclasses import dataclass
from functools import cached_property
from statistics import median

from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.auditing.baseline import error_auc
from memzoo.auditing.significance import fisher_exact
from memzoo.dynamics import Attractors, Share, wilson

CHANCE = 0.05  # p-values from here on are called chance


@dataclass(frozen=True)
class Judged:
    """A group of images, members or controls, judged on the same orbits at the same eps; one row an image."""

    images: Float[Tensor, "n *shape"]
    recovered_at: Int[Tensor, " n"]
    """First step at which some start's orbit is within ``eps`` of the image; -1 for never."""
    start: Int[Tensor, " n"]
    """The start whose orbit is nearest at that step; -1 where never recovered."""
    reached: Float[Tensor, "n *shape"]
    """That orbit's point at that step; NaN where never recovered."""
    distance: Float[Tensor, " n"]
    """From there to the image, L2; NaN where never recovered."""
    attractor: Bool[Tensor, " n"]
    """Certified, as by :func:`memzoo.dynamics.certify`."""
    offset: Float[Tensor, " n"]
    """L2 distance from the image to the limit of its own orbit."""
    residual: Float[Tensor, " n"]
    """L2 norm of f(x) - x at that limit."""
    radius: Float[Tensor, " n"]
    """Spectral radius there; NaN where it is no fixed point."""
    radius_error: Float[Tensor, " n"]
    """Error bound of the radius."""
    error: Float[Tensor, " n"]
    """Reconstruction error of the image itself, L2 norm of f(x) - x."""

    @property
    def recovered(self) -> Bool[Tensor, " n"]:
        """Came out of the network."""
        return self.recovered_at >= 0

    @property
    def recovered_share(self) -> Share:
        """Share that came out, with its Wilson interval at 95 %."""
        return wilson(int(self.recovered.sum()), len(self.images))

    @property
    def attractor_share(self) -> Share:
        """Share that is certified, likewise."""
        return wilson(int(self.attractor.sum()), len(self.images))

    @property
    def median_step(self) -> float | None:
        """Median step of recovery among those that came out; None where none did."""
        steps = self.recovered_at[self.recovered].tolist()
        return median(steps) if steps else None


@dataclass(frozen=True)
class Findings:
    """Hold the numbers of an audit; :class:`memzoo.auditing.Audit` also says, shows and saves them."""

    members: Judged | None
    """The training images; None for an audit without them."""
    controls: Judged | None
    """Images that were not trained on; None where none were given."""
    starts: Float[Tensor, "batch *shape"]
    """Where the orbits began, without those left out."""
    attractors: Attractors
    """Where they ended, whatever was trained on."""
    owner: tuple[tuple[str, int] | None, ...]
    """For each attractor ``("member", i)`` or ``("control", i)``, the image within ``eps``; None for neither."""
    eps: float
    """Radius of recovery, L2."""
    eps_from: str
    """How it was chosen, in words."""
    starts_from: str
    """What the starts are, in words."""
    left_out: int
    """Starts that lay within ``eps`` of an image before the first step, and were not used."""
    steps: int
    """Iterations of each start; the certificates and the attractors take up to five times as many."""
    seed: int
    """Of the noise."""
    title: str
    """Name of the module's class."""
    notes: tuple[str, ...]
    """What whoever reads the numbers has to know."""

    @cached_property
    def recovered_p(self) -> float | None:
        """One-sided p-value of Fisher's exact test, members against controls: recovered. None without controls."""
        return self._p("recovered")

    @cached_property
    def attractor_p(self) -> float | None:
        """The same for certified attractors."""
        return self._p("attractor")

    def _p(self, what: str) -> float | None:
        if self.members is None or self.controls is None:
            return None
        own, other = getattr(self.members, what), getattr(self.controls, what)
        return fisher_exact(int(own.sum()), len(own), int(other.sum()), len(other))

    @cached_property
    def error_auc(self) -> float | None:
        """Members told from controls by reconstruction error alone: 0.5 is chance. None without controls."""
        if self.members is None or self.controls is None:
            return None
        return error_auc(self.members.error, self.controls.error)
