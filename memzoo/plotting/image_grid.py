"""Draw rows of images with a heading over each column."""

from typing import Any

from torch import Tensor


def show_image(axes: Any, image: Tensor, low: float = 0.0, high: float = 1.0) -> None:
    """Draw one image (C, H, W) with pixels clipped to [low, high], framed, without ticks."""
    # imshow takes gray values (H, W) or colours (H, W, 3)
    scaled = (image.detach() - low) / (high - low)
    pixels = scaled.clamp(0, 1).permute(1, 2, 0).squeeze(-1)
    axes.imshow(pixels.numpy(force=True), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="0.75", linewidth=0.5)


def image_grid(figure: Any, columns: list[tuple[str, Tensor]], low: float = 0.0, high: float = 1.0) -> None:
    """Fill ``figure`` with one column of images for each heading; all columns (rows, C, H, W) have the same length."""
    row_count = len(columns[0][1])
    grid = figure.subplots(row_count, len(columns), squeeze=False)
    for column, (heading, images) in enumerate(columns):
        grid[0, column].set_title(heading, fontsize=8)
        for row, image in enumerate(images):
            show_image(grid[row, column], image, low, high)


def as_images(x: Tensor) -> Tensor:
    """Return points of any shape as images (rows, C, H, W) with 1 or 3 channels.

    Vectors become strips of one line, and of any other number of channels the mean is shown.
    """
    if x.dim() == 3:  # images without a channel
        return x[:, None]
    if x.dim() != 4:
        return x.flatten(1)[:, None, None]
    return x if x.shape[1] in (1, 3) else x.mean(1, keepdim=True)
