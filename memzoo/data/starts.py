"""Points to start iterations from that are no images of a dataset, as the paper uses them."""

import torch
from jaxtyping import Float
from torch import Tensor


def white_squares(count: int, shape: tuple[int, int, int], *, seed: int = 0) -> Float[Tensor, "count *shape"]:
    """Black images with one white square each, of random side (up to half the image) and place.

    Args:
        count: Number of images.
        shape: Channels, height, width; all channels are white in the square.
        seed: Of a generator of its own.

    Returns:
        Pixels 0 and 1.

    Example:
        >>> white_squares(1, (1, 4, 4), seed=1)[0, 0].unique()
        tensor([0., 1.])
    """
    generator = torch.Generator().manual_seed(seed)
    _, height, width = shape
    images = torch.zeros(count, *shape)
    for image in images:
        side = int(torch.randint(1, max(1, min(height, width) // 2) + 1, (1,), generator=generator))
        top = int(torch.randint(0, height - side + 1, (1,), generator=generator))
        left = int(torch.randint(0, width - side + 1, (1,), generator=generator))
        image[:, top : top + side, left : left + side] = 1
    return images


def gaussian_noise(
    count: int, shape: tuple[int, ...], *, mean: float = 0.0, std: float = 1.0, seed: int = 0
) -> Float[Tensor, "count *shape"]:
    """Independent Gaussian pixels, not clipped.

    Example:
        >>> gaussian_noise(2, (3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """
    generator = torch.Generator().manual_seed(seed)
    return mean + std * torch.randn(count, *shape, generator=generator)
