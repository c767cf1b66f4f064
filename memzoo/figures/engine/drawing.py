"""Draw what several figures have in common: axes, legends, bands around curves, and small images inside a plot.

Functions take axes and figures of matplotlib, which is imported only if a picture is drawn.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def create_figure(width: float, height: float) -> Any:
    """Create an empty figure of this size in inches, whose parts are laid out so that they do not overlap."""
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width, height), layout="constrained")


def tidy(axes: Any) -> None:
    """Give axes small ticks and labels, and no frame above and to the right."""
    axes.tick_params(which="both", labelsize=7)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_fontsize(8)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(target: Any, source: Any = None, **options: Any) -> None:
    """Add a legend without a frame.

    Args:
        target: The axes, figure or subfigure that receives the legend.
        source: The axes whose labels are shown. Left out, they are those of ``target``.
        options: Further arguments of ``matplotlib.axes.Axes.legend``.
    """
    if source is not None:
        options["handles"], options["labels"] = source.get_legend_handles_labels()
    target.legend(**{"frameon": False, "fontsize": 7, **options})


def set_iteration_axis(axes: Any, ticks: Sequence[int], linscale: float = 0.4) -> None:
    """Make the horizontal axis one of iterations, linear up to 1 and logarithmic beyond, so that t = 0 has a place."""
    axes.set_xscale("symlog", linthresh=1, linscale=linscale)
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("iterations t")


def draw_band(axes: Any, x: Any, low: Any, high: Any, colour: str, **options: Any) -> None:
    """Fill the band between two curves with a light tone of a colour."""
    axes.fill_between(x, low, high, **{"color": colour, "alpha": 0.2, "lw": 0, **options})


def draw_median(axes: Any, x: Any, values: Tensor, **style: Any) -> None:
    """Draw the median of each row of ``values`` against ``x``, and the middle 80 % of the row as a band.

    Args:
        axes: Axes to draw into.
        x: Position of each row.
        values: Float64, a row for each position.
        style: Options of the curve; ``color`` is also that of the band.
    """
    # the band leaves out the lowest and the highest tenth
    low, median, high = values.quantile(values.new_tensor([0.1, 0.5, 0.9]), dim=1)
    draw_band(axes, x, low, high, style["color"])
    axes.plot(x, median, **{"ms": 3, "lw": 1.2, **style})


def place_image(axes: Any, image: Tensor, place: tuple[float, float], side: float, **box: Any) -> None:
    """Place an image (C, H, W) inside a plot.

    Args:
        axes: The axes of the plot.
        image: Pixels, clipped to [0, 1].
        place: Place of the middle of the image, in the coordinates of the axes.
        side: Its longer side in points.
        box: Further arguments of ``matplotlib.offsetbox.AnnotationBbox``.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    # matplotlib takes (H, W, C), and (H, W) if there is one channel
    pixels = image.clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy(force=True)
    shown = OffsetImage(pixels, zoom=side / max(image.shape[1:]), cmap="gray", interpolation="nearest")
    axes.add_artist(AnnotationBbox(shown, place, **box))


def normalise(images: Tensor) -> Tensor:
    """Scale each image linearly so that its pixels reach from black (0) to white (1)."""
    low = images.amin((1, 2, 3), keepdim=True)
    high = images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-12)


def shift_to_grey(noise: Tensor) -> Tensor:
    """Map Gaussian pixels z to z / 4 + 1/2, so that two standard deviations reach from black to white."""
    return noise / 4 + 0.5
