"""Points as PNG: images as they are, vectors as strips."""

from io import BytesIO

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def value_range(points: Float[Tensor, "n *shape"]) -> tuple[float, float]:
    """The values shown as black and white: 0 and 1 where all lie between, else the smallest and the largest."""
    finite = points[points.isfinite()]
    if not len(finite):
        return 0.0, 1.0
    low, high = finite.min().item(), finite.max().item()
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high) if high > low else (low, low + 1)


def png(point: Float[Tensor, " *shape"], low: float, high: float) -> bytes:
    """One point as a PNG file, values clipped to [low, high].

    Shapes (H, W), (1, H, W) and (3, H, W) are images, other numbers of channels are averaged, and anything else is a
    strip of one row.
    """
    from PIL import Image

    pixels = _pixels(point, low, high).numpy(force=True)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def is_strip(shape: torch.Size) -> bool:
    """Not an image: drawn as one row."""
    return len(shape) not in (2, 3)


def _pixels(point: Tensor, low: float, high: float) -> UInt8[Tensor, "..."]:
    """(H, W) or (H, W, 3)."""
    scaled = (255 * (point.detach().double() - low) / (high - low)).nan_to_num(0.0).clamp(0, 255).round().byte()
    if is_strip(point.shape):
        return scaled.reshape(1, -1)
    if point.ndim == 2:
        return scaled
    if len(point) == 3:
        return scaled.permute(1, 2, 0).contiguous()
    return scaled[0] if len(point) == 1 else scaled.double().mean(0).round().byte()
