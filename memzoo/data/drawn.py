"""Random images: what Tables 1 and 2 are trained on."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from memzoo.data.selection import Selection
from memzoo.errors import InvalidArgumentError

DISTRIBUTIONS = ("normal", "sphere", "uniform")


def drawn(
    distribution: str, seeds: Sequence[int], count: int, shape: tuple[int, ...], *, split: str = "train"
) -> Selection:
    r"""Images (count, seeds, \*shape): ``count`` a seed, side by side as an ensemble sees them.

    Args:
        distribution: Of the pixels: ``"normal"`` with mean 0 and variance 1, ``"sphere"`` the same scaled to norm 1,
            ``"uniform"`` in [0, 1).
        seeds: One a draw.
        count: Images a draw.
        shape: Of one image.
        split: ``"test"`` images come from another stream of the same seeds.

    Example:
        >>> drawn("uniform", range(5), 2, (1, 3, 3)).images.shape
        torch.Size([2, 5, 1, 3, 3])
    """
    if distribution not in DISTRIBUTIONS:
        raise InvalidArgumentError(f"images are drawn from {', '.join(DISTRIBUTIONS)}, not from {distribution!r}.")
    if split not in ("train", "test"):
        raise InvalidArgumentError(f"split must be 'train' or 'test', got {split!r}.")
    if not len(seeds) or count < 1:
        raise InvalidArgumentError(f"needs at least one seed and one image a seed, got {len(seeds)} and {count}.")
    images = torch.stack([_one(distribution, 2 * seed + (split == "test"), count, shape) for seed in seeds], dim=1)
    return Selection(distribution, split, tuple(seeds), images)


def _one(distribution: str, seed: int, count: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if distribution == "uniform":
        return torch.rand(count, *shape, generator=generator)
    images = torch.randn(count, prod(shape), generator=generator)
    if distribution == "sphere":
        images /= images.norm(dim=1, keepdim=True)
    return images.view(count, *shape)
