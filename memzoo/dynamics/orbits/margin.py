"""Measure how clearly a point belongs to its nearest example: the gap to the second nearest."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo.dynamics.orbits.distance import nearest
from memzoo.dynamics.orbits.duplicates import group_duplicates


@dataclass(frozen=True)
class Margin:
    """What :func:`nearest_margin` found, one row a point; distances are L2, in float64."""

    index: Int[Tensor, " batch"]
    """The nearest example, of exact duplicates the first."""
    distance: Float[Tensor, " batch"]
    """Distance to it."""
    second: Float[Tensor, " batch"]
    """Distance to the nearest of the examples that differ from it; infinity if there is none."""

    @property
    def absolute(self) -> Float[Tensor, " batch"]:
        r"""Return how much farther the second is, :math:`d_2 - d_1 \ge 0`, in units of the data.

        A point that moves by less than half of it keeps its nearest example. Infinity if there is no second.
        """
        return self.second - self.distance

    @property
    def relative(self) -> Float[Tensor, " batch"]:
        r"""Return :math:`(d_2 - d_1) / d_2`, in [0, 1]: 0 midway between two examples, 1 on one of them.

        It is dimensionless: the same after the data are scaled. It is also 1 if there is only one example.
        """
        return 1 - self.distance / self.second


@torch.no_grad()
def nearest_margin(points: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"]) -> Margin:
    """Compute the distances of each point to its nearest and second nearest *distinct* example, and their margin.

    At the points where orbits end the margin tells whether the image that comes out is a stored one or a mixture: an
    orbit that ends midway between two examples has recalled neither. Exact duplicates among the examples count as one.
    Distances are those of :func:`memzoo.dynamics.nearest`, by subtraction in float64.

    Args:
        points: Points, such as the last ones of orbits.
        examples: Training examples.

    Returns:
        Cost: one matrix product of the points and the distinct examples.

    Raises:
        NonFiniteError: NaN or infinity in the points or the examples.
        ValueError: Points and examples of different shapes.

    Example:
        >>> margin = nearest_margin(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [4.0]]))
        >>> margin.absolute
        tensor([4., 2., 0.], dtype=torch.float64)
        >>> margin.relative
        tensor([1.0000, 0.6667, 0.0000], dtype=torch.float64)
    """
    check_batch(points, "points")
    check_batch(examples, "examples")
    check_same_shape(points, examples, "points and examples")
    first = group_duplicates(examples).first
    found = nearest(points, examples[first])
    return Margin(first[found.index], found.distance, found.second)
