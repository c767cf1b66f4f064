"""Convolution and nearest-neighbour upsampling as matrices (Supplement E of the paper, Algorithms 1 and 2)."""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError


def convolution_matrix(
    filters: Float[Tensor, "*channels k k"],
    side: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    padded: bool = False,
) -> Float[Tensor, "rows columns"]:
    r"""Build the matrix of a convolutional layer without bias on vectorised square images (Algorithm 1).

    An image (C, s, s) is vectorised channel by channel, each row by row. Unpadded, the matrix maps images to images:
    the 9 x 9 example of Supplement E. Padded, as Algorithm 1 builds it, rows and columns run over images with their
    zero border of width ``padding``: the output is zero on its border, so that such matrices can be multiplied.

    The function generalises Algorithm 1, which builds the block of one output filter with k = 3 and padding 1.

    Args:
        filters: Weights (out, in, k, k) as in ``Conv2d``; (k, k) is one filter on one channel.
        side: Side s of the image, without padding.
        stride: Step of the filter.
        padding: Zeros on each side; (k - 1) / 2 when left out.
        padded: Whether rows and columns include the border.

    Returns:
        A matrix (out s'^2, in s^2) with s' = (s + 2 padding - k) // stride + 1, or with s' + 2 padding and s + 2
        padding in place of the sides. Every entry that is not a weight is a forced zero.

    Raises:
        ValueError: Filters of another shape, an even kernel without ``padding``, or an image smaller than the filter.

    Example:
        >>> convolution_matrix(torch.arange(1.0, 10).reshape(3, 3), 2)
        tensor([[5., 6., 8., 9.],
                [4., 5., 7., 8.],
                [2., 3., 5., 6.],
                [1., 2., 4., 5.]])
    """
    weight = filters[None, None] if filters.ndim == 2 else filters
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise InvalidArgumentError(f"filters must be (out, in, k, k) or (k, k), got {tuple(filters.shape)}.")
    fan_out, fan_in, k, _ = weight.shape
    padding = _choose_padding(k, padding)
    wide = side + 2 * padding
    if side < 1 or stride < 1 or wide < k:
        raise InvalidArgumentError(
            f"a {k} x {k} filter of stride {stride} does not fit an image of side {side}, padded to {wide}."
        )
    out = (wide - k) // stride + 1
    matrix = weight.new_zeros(fan_out, out, out, fan_in, wide, wide)
    x = torch.arange(out)
    y = x[:, None]
    # Output (y, x) reads input (y stride + a, x stride + b) with weight (a, b).
    for a in range(k):
        for b in range(k):
            matrix[:, y, x, :, y * stride + a, x * stride + b] = weight[:, :, a, b]
    if padded:
        return _flatten_images(_pad_rows(matrix, padding))
    inner = slice(padding, padding + side)
    return _flatten_images(matrix[..., inner, inner])


def _choose_padding(kernel: int, padding: int | None) -> int:
    """Return the padding, which keeps the size of an image at stride 1 when left out."""
    if padding is not None:
        return padding
    if kernel % 2 == 0:
        raise InvalidArgumentError(f"a kernel of even size {kernel} has no middle; give padding.")
    return (kernel - 1) // 2


def upsampling_matrix(
    side: int,
    factor: int,
    channels: int = 1,
    *,
    padding: int = 1,
    padded: bool = False,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "rows columns"]:
    """Build the matrix of nearest-neighbour upsampling on vectorised square images (Algorithm 2).

    Padded, it is the 16 x 9 example of Supplement E for ``side=1, factor=2``. In the paper's listing the loop over
    columns must run from 1 to s, as the loop over rows does; as printed, from 0, it copies the border and writes too
    many rows.

    Args:
        side: Side s of the image, without padding.
        factor: Ratio of the sides of output and input.
        channels: Channels of the image, each of which is upsampled alone.
        padding: Width of the zero border, where ``padded``.
        padded: Whether rows and columns include the border.
        dtype: PyTorch's default when left out.

    Raises:
        ValueError: A size below 1.

    Example:
        >>> upsampling_matrix(1, 2).T
        tensor([[1., 1., 1., 1.]])
    """
    if min(side, factor, channels) < 1 or padding < 0:
        raise InvalidArgumentError(
            f"side, factor and channels must be at least 1, got {side}, {factor} and {channels}."
        )
    border = padding if padded else 0
    out = side * factor
    wide = side + 2 * border
    matrix = torch.zeros(channels, out, out, channels, wide, wide, dtype=dtype)
    c = torch.arange(channels)[:, None, None]
    x = torch.arange(out)
    y = x[:, None]
    # Output (y, x) copies input (y // factor, x // factor) of the same channel.
    matrix[c, y, x, c, y // factor + border, x // factor + border] = 1.0
    return _flatten_images(_pad_rows(matrix, border))


def _pad_rows(matrix: Float[Tensor, "out y x in v u"], border: int) -> Tensor:
    """Add zero rows for the border of the output image."""
    return torch.nn.functional.pad(matrix, (0, 0, 0, 0, 0, 0, border, border, border, border))


def _flatten_images(matrix: Float[Tensor, "out y x in v u"]) -> Float[Tensor, "rows columns"]:
    """Vectorise the output images to rows and the input images to columns."""
    return matrix.flatten(3).flatten(0, 2)
