"""Corrupt examples at random, more and more in the same way: noise of one direction, a mask that grows."""

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
    # Example by example, so that those behind an example do not change its numbers.
    shape = (draws, *examples.shape[1:])
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64).to(examples) for _ in range(len(examples))]
    return torch.stack(drawn)


class Masks:
    """Draw a mask for each copy of each example that grows with the area: a smaller mask lies inside a larger one.

    Images, the last two axes of an example, are masked by a block of their own proportions. Its place is uniform among
    all places where it fits, and the same in all channels. Vectors are masked at random coordinates, because the order
    of their coordinates may mean nothing.
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
        # A block of the proportions of the image has the root of the area as its share of each side.
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
        row, column = (self._build_run(axis, length) for axis, length in enumerate(sides))
        mask = row[..., :, None] & column[..., None, :]
        return mask.reshape(*mask.shape[:2], *self.channels, *self.plane)

    def _build_run(self, axis: int, length: int) -> Bool[Tensor, "n draws side"]:
        r"""Build a run of l of the s pixels of a side that starts at :math:`\lfloor u (s - l + 1) \rfloor`.

        If the length l grows by one, the start moves back by one pixel or not at all. Runs are therefore nested, and
        each is uniform over its places.
        """
        pixel = torch.arange(self.plane[axis], device=self.place.device)
        start = (self.place[..., axis, None] * (len(pixel) - length + 1)).floor()
        return (pixel >= start) & (pixel < start + length)
