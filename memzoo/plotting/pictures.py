"""Draw iterates and spectra as figures that pyplot does not know, so that none of them stays open."""

from typing import Any

import torch
from torch import Tensor

from memzoo.plotting.colours import BLUE, VERMILION
from memzoo.plotting.image_grid import as_images, image_grid

DPI = 110
FARTHEST = 4.0
"""Half the width of a spectrum's frame, at most: in a wider one, the unit circle would be a dot."""
CELL = 0.8
"""Width of an image in inches."""
SMALLEST = 1e-300
"""A modulus that may be divided by."""


def draw_iterates(columns: list[tuple[str, Tensor]], examples: Tensor, title: str) -> Any:
    r"""Draw one column of points for each heading, and one row for each start.

    Pixels are clipped to [0, 1] where the examples lie there. Otherwise pixels are stretched to the range of the
    examples, which begins at 0 or is symmetric about 0, and the title names this range.

    Args:
        columns: Headings and points (rows, \*shape), all of one shape.
        examples: Points whose range of values is shown.
        title: Above the picture.
    """
    from matplotlib.figure import Figure

    # all points are shown on the scale of the examples, so that they can be compared
    low, high = shown_range(examples)
    images = [(heading, as_images(points)) for heading, points in columns]
    row_count, _, pixel_height, pixel_width = images[0][1].shape
    are_strips = pixel_height == 1
    cell_width = 2 * CELL if are_strips else CELL
    cell_height = min(max(cell_width * pixel_height / pixel_width, 0.3 * CELL), 2 * CELL)
    width = max(cell_width * len(columns), 2.6)
    height = cell_height * row_count + 0.7
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    image_grid(figure, images, low, high)
    if are_strips:
        for axes in figure.axes:
            axes.set_aspect("auto")
    if (low, high) != (0, 1):
        title = f"{title}\nshown from {low:.3g} to {high:.3g}"
    figure.suptitle(title, fontsize=8)
    return figure


def shown_range(examples: Tensor) -> tuple[float, float]:
    """Return [0, 1] where all values lie there, else their range, from 0 or symmetric about 0."""
    low, high = (value.item() for value in examples.aminmax())
    if low < 0:
        largest = max(-low, high)
        return -largest, largest
    return 0.0, max(high, 1.0)


def draw_spectrum(eigenvalues: Tensor, title: str) -> Any:
    """Draw eigenvalues, one row for each example, as points of the complex plane with the unit circle.

    Eigenvalues on or outside the circle differ by shape and colour, and the largest of each example by its frame. An
    eigenvalue beyond ``FARTHEST`` is put on the rim of the picture, in its direction, and counted.
    """
    from matplotlib.figure import Figure

    modulus = eigenvalues.abs()
    largest = modulus.max().item()
    limit = min(max(1.15 * largest, 1.15), FARTHEST)
    beyond = modulus > limit
    # lambda / |lambda| keeps the direction
    on_rim = eigenvalues / modulus.clamp(min=SMALLEST) * limit
    placed = torch.where(beyond, on_rim, eigenvalues)
    figure = Figure(figsize=(3.6, 4.1), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    _draw_plane(axes, limit)
    _draw_eigenvalues(axes, placed, modulus)
    note = f"\n{int(beyond.sum())} beyond |λ| = {limit:g}, drawn on the rim" if beyond.any() else ""
    figure.suptitle(f"{title}: largest |λ| = {largest:.3g}{note}", fontsize=8)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7, handletextpad=0.2)
    return figure


def _draw_plane(axes: Any, limit: float) -> None:
    """Draw the real axis, the imaginary axis and the unit circle."""
    from matplotlib.patches import Circle

    axes.axhline(0, color="0.9", lw=0.8, zorder=0)
    axes.axvline(0, color="0.9", lw=0.8, zorder=0)
    axes.add_patch(Circle((0, 0), 1, fill=False, color="0.4", lw=1))
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.set_xlabel("real part", fontsize=8)
    axes.set_ylabel("imaginary part", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_eigenvalues(axes: Any, placed: Tensor, modulus: Tensor) -> None:
    """Draw the points of all eigenvalues, and those for the legend."""
    # The largest eigenvalue of each example decides: it gets a frame.
    is_leading = torch.zeros_like(modulus, dtype=torch.bool)
    is_leading.scatter_(1, modulus.argmax(1, keepdim=True), value=True)
    for chosen, colour, marker, label in (
        (modulus < 1, BLUE, "o", "inside the unit circle"),
        (modulus >= 1, VERMILION, "^", "on or outside it"),
    ):
        style = {"c": colour, "marker": marker, "edgecolors": "black", "clip_on": False}
        others = placed[chosen & ~is_leading]
        leading = placed[chosen & is_leading]
        label = f"{label} ({int(chosen.sum())})"
        axes.scatter(*_coordinates(others), s=12, alpha=0.5, linewidths=0, zorder=3, label=label, **style)
        axes.scatter(*_coordinates(leading), s=28, alpha=0.8, linewidths=0.8, zorder=4, **style)
    axes.scatter([], [], s=28, facecolors="none", edgecolors="black", linewidths=0.8, label="largest of an example")


def _coordinates(points: Tensor) -> tuple[Any, Any]:
    """Return real and imaginary parts as arrays."""
    return points.real.numpy(), points.imag.numpy()
