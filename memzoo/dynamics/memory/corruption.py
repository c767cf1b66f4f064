"""Corrupt examples at random, so that a stronger corruption extends a weaker one.

Noise keeps its direction at all levels, and a larger mask contains a smaller one.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def draw_gaussian(examples: Float[Tensor, "n *shape"], draws: int, seed: int) -> Float[Tensor, "n draws *shape"]:
    """Draw standard normal directions, independent of each other.

    The directions of an example do not depend on how many examples follow it. They are drawn in float64, so that they
    are the same in all dtypes up to rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    # One example at a time, so that later examples do not change the numbers of earlier ones.
    for example in examples:
        directions = torch.randn((draws, *example.shape), generator=generator, dtype=torch.float64)
        drawn.append(directions.to(examples))
    return torch.stack(drawn)


class Masks:
    """Draw a mask for each copy of each example; the mask for a small area lies inside the mask for a larger one.

    Images, the last two axes of an example, are masked by a block with the proportions of the image. The place of the
    block is uniform among all places where it fits, and the same in all channels. Vectors are masked at random
    coordinates, because the order of their coordinates may mean nothing.
    """

    def __init__(self, examples: Float[Tensor, "n *shape"], draws: int, generator: torch.Generator) -> None:
        self.plane: torch.Size = examples.shape[1:][-2:]
        # A number for each coordinate of a vector, or for each axis of an image.
        numbers = self.plane if len(self.plane) == 1 else (2,)
        place = torch.rand(len(examples), draws, *numbers, generator=generator, dtype=torch.float64)
        self.place: Tensor = place.to(examples.device)
        self.channels: list[int] = [1] * (examples.ndim - 1 - len(self.plane))

    def compute_sides(self, area: float) -> list[int]:
        """Compute the sides of the block in whole pixels, or the number of coordinates."""
        # The share of each side is the root of the share of the area, because the block has the image's proportions.
        share = area ** (1 / len(self.plane))
        return [round(share * side) for side in self.plane]

    def compute_true_area(self, area: float) -> float:
        """Compute the share that is really masked where ``area`` is asked for, since pixels are whole."""
        return math.prod(self.compute_sides(area)) / math.prod(self.plane)

    def build(self, area: float) -> Bool[Tensor, "n draws ..."]:
        """Build the masks, true where masked; they broadcast over channels."""
        sides = self.compute_sides(area)
        if len(sides) == 1:
            permutation = self.place.argsort(-1)  # a random one
            return permutation < sides[0]
        rows = self._build_run(0, sides[0]).unsqueeze(-1)
        columns = self._build_run(1, sides[1]).unsqueeze(-2)
        mask = rows & columns
        return mask.reshape(*mask.shape[:2], *self.channels, *self.plane)

    def _build_run(self, axis: int, length: int) -> Bool[Tensor, "n draws side"]:
        r"""Build a run of l of the s pixels of a side that starts at :math:`\lfloor u (s - l + 1) \rfloor`.

        If the length l grows by one, the start moves back by one pixel or not at all. Runs are therefore nested, and
        each is uniform over its places.
        """
        side = self.plane[axis]
        pixel = torch.arange(side, device=self.place.device)
        number = self.place[..., axis, None]
        start = (number * (side - length + 1)).floor()
        return (pixel >= start) & (pixel < start + length)
