"""Training sets that a formula gives: points on a line, the Swiss roll, and plain patterns of pixels."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memzoo.data.selection import Selection, check_split, pick_rows
from memzoo.errors import InvalidArgumentError

ROLL_POINTS = 4096
"""Points of the Swiss roll; the index of a point counts from the first."""
GRID_SIDE = 10
"""Points of the grid along each side of the cube around the roll."""


def points(name: str, indices: Sequence[int], shape: tuple[int, ...], *, split: str = "train") -> Selection:
    r"""Compute points (n, \*shape) by their indices, as float32.

    Args:
        name: ``"line"``: the numbers i / 100. ``"swissroll"``: points of the three-dimensional Swiss roll, drawn once
            and divided by their standard deviation; in the split ``"test"`` the 10 x 10 x 10 points of a grid over the
            cube that holds them. ``"pixels"``: black images in which pixel i is white. ``"squares"``: black images
            with a white square of side i in the upper left corner.
        indices: Indices i of the points.
        shape: Shape of one point; dimensions before those of the pattern repeat it, as for the members of an ensemble.
        split: ``"train"`` or ``"test"``. Only the Swiss roll has points of its own for each split; of ``"line"``,
            ``"pixels"`` and ``"squares"`` both are the same points, so held-out points are those of other indices.

    Raises:
        IndexError: An index lies beyond the ends.

    Example:
        >>> points("squares", [2], (1, 3, 3)).images[0, 0]
        tensor([[1., 1., 0.],
                [1., 1., 0.],
                [0., 0., 0.]])
        >>> points("swissroll", range(100), (3,)).images.shape
        torch.Size([100, 3])
    """
    if name not in FORMULAS:
        raise InvalidArgumentError(f"formulas are {', '.join(FORMULAS)}, got {name!r}.")
    check_split(split)
    every = _FORMULAS[name](split, shape[-2:])
    patterns = pick_rows(name, split, every, indices)
    # dimensions of size 1 between the index and the pattern, over which the pattern is repeated
    repeated = [1] * (len(shape) + 1 - patterns.ndim)
    patterns = patterns.reshape(len(patterns), *repeated, *patterns.shape[1:])
    return Selection(name, split, tuple(indices), patterns.expand(-1, *shape).contiguous())


def _build_line(_split: str, _size: tuple[int, ...]) -> Tensor:
    """List the numbers i / 100."""
    return torch.arange(101)[:, None] / 100


def _draw_roll(split: str, _size: tuple[int, ...]) -> Tensor:
    """Draw the usual roll, or build the grid around it: angle in [1.5, 4.5] pi, height in [0, 21], radius the angle."""
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(ROLL_POINTS, 2, generator=generator, dtype=torch.float64)
    angle = 1.5 * math.pi * (1 + 2 * uniform[:, 0])
    roll = torch.stack([angle * angle.cos(), 21 * uniform[:, 1], angle * angle.sin()], 1)
    roll = roll - roll.mean(0)
    roll = roll / roll.std()
    if split == "train":
        return roll.float()
    low = roll.min(0).values
    high = roll.max(0).values
    ticks = torch.linspace(0, 1, GRID_SIDE, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks, ticks)
    return (low + (high - low) * grid).float()


def _build_pixels(_split: str, size: tuple[int, ...]) -> Tensor:
    """Build one image for each pixel, which alone is white."""
    return torch.eye(math.prod(size)).reshape(-1, *size)


def _build_corner_squares(_split: str, size: tuple[int, ...]) -> Tensor:
    """Build one image for each side of a white square in the upper left corner."""
    height, width = size
    # A square covers the pixels (r, c) for which max(r, c) is less than its side.
    farther = torch.maximum(torch.arange(height)[:, None], torch.arange(width))
    return torch.stack([(farther < side).float() for side in range(max(size) + 1)])


_FORMULAS: dict[str, Callable[[str, tuple[int, ...]], Tensor]] = {
    "line": _build_line,
    "swissroll": _draw_roll,
    "pixels": _build_pixels,
    "squares": _build_corner_squares,
}
FORMULAS = tuple(_FORMULAS)
"""Names of the formulas."""
