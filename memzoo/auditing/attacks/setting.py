"""Hold what all attacks of one battery are given, and what each of them returns."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._types import Map

BATCH = 1024
"""Images that are evaluated at one time."""


@dataclass(frozen=True)
class Setting:
    """Hold a network and the images it is asked about. Nothing in it says which of them are members."""

    f: Map
    """The network, a self-map of the points."""
    images: Float[Tensor, "n *dim"]
    """Members and controls, as points that the network takes."""
    shape: torch.Size
    """Shape of one image as it was given; the points may be flat."""
    eps: Float[Tensor, " n"]
    """Radius of recovery of each image, L2."""
    starts: Float[Tensor, "batch *dim"]
    """Where orbits begin that are not searched."""
    steps: int
    """Iterations of each start."""
    seed: int
    reference: Map | None = None
    """A network for the same images that was trained on none of them."""

    def evaluate(self, points: Tensor) -> Tensor:
        """Apply the network to all points."""
        return torch.cat([self.f(batch) for batch in points.split(BATCH)])

    def draw(self, *size: int) -> Tensor:
        """Draw standard normal numbers from the seed, equal on all devices."""
        drawn = torch.randn(size, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        return drawn.to(self.images)


class Outcome(NamedTuple):
    """Hold what one attack learned of each image."""

    scores: Float[Tensor, " n"]
    """The higher, the more the image looks like a member."""
    recovered: Bool[Tensor, " n"] | None = None
    """Whether the image came out; None for an attack that is given the image itself."""


def measure_distance(points: Tensor, others: Tensor) -> Float[Tensor, " n"]:
    """Measure the L2 distance between the points of each row; infinity where there is none."""
    distance = (points - others).flatten(1).double().norm(dim=1)
    return torch.where(distance.isnan(), torch.inf, distance)


def score_distance(distance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return a score that falls with a distance: minus its logarithm, in which ratios are differences."""
    return -distance.log()
