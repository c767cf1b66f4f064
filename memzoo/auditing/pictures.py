"""Encode points as PNG: images are shown as they are, vectors as strips of one row."""

from io import BytesIO

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def find_value_range(points: Float[Tensor, "n *shape"]) -> tuple[float, float]:
    """Return the values to show as black and white: 0 and 1, or the extreme values where some lie outside of these."""
    finite = points[points.isfinite()]
    if not len(finite):
        return 0.0, 1.0
    low = finite.min().item()
    high = finite.max().item()
    if low >= 0 and high <= 1:  # as pixels are, also where no pixel is black or white
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + 1)  # a constant image is black


def encode_png(point: Float[Tensor, " *shape"], low: float, high: float) -> bytes:
    """Encode one point as a PNG file, with values clipped to [low, high].

    Shapes (H, W), (1, H, W) and (3, H, W) are images. Other numbers of channels are averaged. Any other shape becomes a
    strip of one row.
    """
    from PIL import Image

    pixels = _to_pixels(point, low, high).numpy(force=True)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def is_strip(shape: torch.Size) -> bool:
    """Tell whether points of this shape are drawn as a strip, since they are no images."""
    return len(shape) not in (2, 3)


def _to_pixels(point: Tensor, low: float, high: float) -> UInt8[Tensor, "..."]:
    """Convert a point to 8-bit pixels (H, W), or (H, W, 3) for colour."""
    unit = (point.detach().double() - low) / (high - low)
    # NaN, which has no grey, is black.
    levels = (255 * unit).nan_to_num(0.0).clamp(0, 255).round().byte()
    if is_strip(point.shape):
        return levels.reshape(1, -1)
    if point.ndim == 2:
        return levels
    if len(point) == 3:
        return levels.permute(1, 2, 0).contiguous()  # PIL wants the channels last
    return levels[0] if len(point) == 1 else levels.double().mean(0).round().byte()
