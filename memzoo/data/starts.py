"""Starts of iterations that are not images of a dataset, as in Figure 1b of the paper."""

import torch
from jaxtyping import Float
from torch import Tensor


def white_squares(count: int, shape: tuple[int, int, int], *, seed: int = 0) -> Float[Tensor, "count *shape"]:
    """Draw black images with one white square each, of random side (up to half the image) and place.

    Args:
        count: Number of images.
        shape: Channels, height, width; all channels are white in the square.
        seed: Seed of the draws, which leave PyTorch's global generator alone.

    Returns:
        Images with pixels 0 and 1.

    Example:
        >>> white_squares(1, (1, 4, 4), seed=1)[0, 0].unique()
        tensor([0., 1.])
    """
    generator = torch.Generator().manual_seed(seed)

    def draw_up_to(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    _, height, width = shape
    # An image of one pixel has room for a square of one pixel.
    largest = max(1, min(height, width) // 2)
    images = torch.zeros(count, *shape)
    for image in images:
        side = draw_up_to(1, largest)
        top = draw_up_to(0, height - side)
        left = draw_up_to(0, width - side)
        image[:, top : top + side, left : left + side] = 1
    return images


def gaussian_noise(
    count: int, shape: tuple[int, ...], *, mean: float = 0.0, std: float = 1.0, seed: int = 0
) -> Float[Tensor, "count *shape"]:
    """Draw images of independent Gaussian pixels, which are not clipped.

    Example:
        >>> gaussian_noise(2, (3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """
    generator = torch.Generator().manual_seed(seed)
    return mean + std * torch.randn(count, *shape, generator=generator)
