"""Describe a fixed point or a cycle in which orbits end."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LimitSet:
    """A fixed point or a cycle in which orbits end."""

    kind: Literal["training", "spurious", "cycle"]
    """Training: the attracting fixed point of an example, within ``eps`` of it. Spurious: any other fixed point."""
    example: int
    """Index of that training example, -1 for the other kinds."""
    points: Float[Tensor, "period *shape"]
    """The fixed point, or the points of the cycle in their order."""
    radius: float
    """Spectral radius there, of f at a fixed point, of its p-fold composition on a cycle of period p."""
    radius_error: float
    """Its error bound; around 1 at least what the arithmetic of the orbits resolves."""
    offset: float
    """L2 distance to the nearest training example (of a cycle: the smallest)."""
    continuum: bool
    """Not isolated: a small push ends at another such limit (a linear projection, say). All limits of one period that
    are found so make one entry; ``points`` holds one of them."""
    count: int = 0
    """Number of starts that end there."""

    @property
    def period(self) -> int:
        """Return the period, 1 for a fixed point."""
        return len(self.points)

    @property
    def attracting(self) -> bool:
        """Tell whether the radius is below 1 beyond its error bound."""
        return self.radius + self.radius_error < 1

    @property
    def unstable(self) -> bool:
        """Tell whether the radius is above 1 beyond its error bound: a repeller or a saddle."""
        return self.radius - self.radius_error > 1
