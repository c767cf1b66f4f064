"""Training sets that a formula gives: points on a line, the Swiss roll, plain patterns of pixels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from memzoo.data.selection import Selection
from memzoo.errors import InvalidArgumentError

FORMULAS = ("line", "swissroll", "pixels", "squares")
ROLL = 4096  # points of the roll; a training set takes the first ones
GRID = 10  # points a side of the cube around it


def points(name: str, indices: Sequence[int], shape: tuple[int, ...], *, split: str = "train") -> Selection:
    r"""Points (n, \*shape) by their indices, as float32.

    Args:
        name: ``"line"``: the numbers i / 100. ``"swissroll"``: points of the three-dimensional Swiss roll, drawn once,
            divided by their standard deviation; of the split ``"test"`` the 10 x 10 x 10 points of a grid over the
            cube that holds them. ``"pixels"``: black with pixel i white. ``"squares"``: black with a white square of
            side i in the upper left corner.
        indices: Which.
        shape: Of one point; dimensions in front of those of the pattern repeat it, as an ensemble's members do.
        split: ``"train"`` or ``"test"``. Only the Swiss roll has points of its own for each; of ``"line"``,
            ``"pixels"`` and ``"squares"`` both are the same points, so held-out ones are those of other indices.

    Raises:
        IndexError: Beyond the ends.

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
    if split not in ("train", "test"):
        raise InvalidArgumentError(f"split must be 'train' or 'test', got {split!r}.")
    match name:
        case "line":
            every = torch.arange(101)[:, None] / 100
        case "swissroll":
            every = _roll(split)
        case "pixels":
            every = torch.eye(math.prod(shape[-2:])).reshape(-1, *shape[-2:])
        case _:
            every = _squares(*shape[-2:])
    wrong = [i for i in indices if not 0 <= i < len(every)]
    if wrong or not len(indices):
        raise IndexError(
            f"indices into {name}/{split} must be a non-empty list within 0..{len(every) - 1}, "
            f"got {wrong[:5] if wrong else 'none'}."
        )
    chosen = every[torch.as_tensor(list(indices))]
    chosen = chosen.reshape(len(chosen), *[1] * (len(shape) + 1 - chosen.ndim), *chosen.shape[1:])
    return Selection(name, split, tuple(indices), chosen.expand(-1, *shape).contiguous())


def _roll(split: str) -> Tensor:
    """The usual one: angle in [1.5, 4.5] pi, height in [0, 21], the radius is the angle."""
    drawn = torch.rand(ROLL, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    angle = 1.5 * math.pi * (1 + 2 * drawn[:, 0])
    roll = torch.stack([angle * angle.cos(), 21 * drawn[:, 1], angle * angle.sin()], 1)
    roll = roll - roll.mean(0)
    roll = roll / roll.std()
    if split == "train":
        return roll.float()
    low, high = roll.min(0).values, roll.max(0).values
    ticks = torch.linspace(0, 1, GRID, dtype=torch.float64)
    return (low + (high - low) * torch.cartesian_prod(ticks, ticks, ticks)).float()


def _squares(height: int, width: int) -> Tensor:
    within = torch.maximum(torch.arange(height)[:, None], torch.arange(width))
    return torch.stack([(within < side).float() for side in range(max(height, width) + 1)])
