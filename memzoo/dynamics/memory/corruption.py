"""Examples corrupted at random, more and more in the same way: noise of one direction, a mask that grows."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def gaussian(examples: Float[Tensor, "n *shape"], draws: int, seed: int) -> Float[Tensor, "n draws *shape"]:
    """Standard normal directions, independent of each other.

    Those of an example do not depend on how many examples follow it. Drawn in float64, so that all dtypes get the same
    ones up to rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (draws, *examples.shape[1:])
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64).to(examples) for _ in range(len(examples))]
    return torch.stack(drawn)


class Masks:
    """A mask for each draw of each example that grows with the area: that of a smaller area lies inside.

    Images, the last two axes of an example, are masked by a block of their own proportions at a place that is uniform
    among all where it fits, the same in all channels. Vectors are masked at coordinates chosen at random, since the
    order of their coordinates need not mean anything.
    """

    def __init__(self, examples: Float[Tensor, "n *shape"], draws: int, generator: torch.Generator) -> None:
        self.plane: torch.Size = examples.shape[1:][-2:]
        drawn = self.plane if len(self.plane) == 1 else (2,)
        place = torch.rand(len(examples), draws, *drawn, generator=generator, dtype=torch.float64)
        self.place: Tensor = place.to(examples.device)
        self.channels: list[int] = [1] * (examples.ndim - 1 - len(self.plane))

    def sides(self, area: float) -> list[int]:
        """Sides of the block in whole pixels, or the number of coordinates."""
        share = area ** (1 / len(self.plane))
        return [round(share * side) for side in self.plane]

    def covered(self, area: float) -> float:
        """Share that is really masked where ``area`` is asked for, since pixels are whole."""
        return math.prod(self.sides(area)) / math.prod(self.plane)

    def at(self, area: float) -> Bool[Tensor, "n draws ..."]:
        """True where masked; broadcasts over channels."""
        size = self.sides(area)
        if len(size) == 1:
            return self.place.argsort(-1) < size[0]  # a random permutation
        row, column = (self._run(axis, length) for axis, length in enumerate(size))
        mask = row[..., :, None] & column[..., None, :]
        return mask.reshape(*mask.shape[:2], *self.channels, *self.plane)

    def _run(self, axis: int, length: int) -> Bool[Tensor, "n draws side"]:
        r"""A run of pixels that starts at :math:`\lfloor u (s - l + 1) \rfloor`.

        As the length l grows by one, the start moves back by one pixel or not at all: runs are nested and each is
        uniform over its places.
        """
        pixel = torch.arange(self.plane[axis], device=self.place.device)
        start = (self.place[..., axis, None] * (len(pixel) - length + 1)).floor()
        return (pixel >= start) & (pixel < start + length)
