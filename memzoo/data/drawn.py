"""Random images, such as the training sets of Tables 1 and 2 of the paper."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from memzoo.data.selection import Selection, check_split
from memzoo.errors import InvalidArgumentError

DISTRIBUTIONS = ("normal", "sphere", "uniform")


def drawn(
    distribution: str, seeds: Sequence[int], count: int, shape: tuple[int, ...], *, split: str = "train"
) -> Selection:
    r"""Draw images (count, seeds, \*shape): ``count`` for each seed, side by side as an ensemble takes them.

    Args:
        distribution: Distribution of the pixels: ``"normal"`` with mean 0 and variance 1, ``"sphere"`` the same scaled
            to norm 1, ``"uniform"`` in [0, 1).
        seeds: One seed for each draw.
        count: Number of images in a draw.
        shape: Shape of one image.
        split: ``"test"`` images come from another stream of the same seeds.

    Example:
        >>> drawn("uniform", range(5), 2, (1, 3, 3)).images.shape
        torch.Size([2, 5, 1, 3, 3])
    """
    check_distribution(distribution)
    check_split(split)
    if not len(seeds) or count < 1:
        raise InvalidArgumentError(f"needs at least one seed and one image a seed, got {len(seeds)} and {count}.")
    # Even numbers seed the training images, odd ones the test images.
    offset = int(split == "test")
    draws = [_draw_images(distribution, 2 * seed + offset, count, shape) for seed in seeds]
    return Selection(distribution, split, tuple(seeds), torch.stack(draws, dim=1))


def check_distribution(distribution: str) -> None:
    """Raise an error unless images can be drawn from this distribution."""
    if distribution not in DISTRIBUTIONS:
        raise InvalidArgumentError(f"images are drawn from {', '.join(DISTRIBUTIONS)}, not from {distribution!r}.")


def _draw_images(distribution: str, seed: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """Draw the images of one seed."""
    generator = torch.Generator().manual_seed(seed)
    if distribution == "uniform":
        return torch.rand(count, *shape, generator=generator)
    # Normal pixels scaled to norm 1 are uniform on the sphere.
    images = torch.randn(count, prod(shape), generator=generator)
    if distribution == "sphere":
        images /= images.norm(dim=1, keepdim=True)
    return images.view(count, *shape)
