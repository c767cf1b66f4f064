"""Where iteration leads, and the spectrum in the complex plane, as figures that no state outside them knows of."""

from typing import Any

import torch
from torch import Tensor

from memzoo.callbacks.history import BLUE, RED
from memzoo.plotting import as_images, image_grid

DPI = 110
FARTHEST = 4.0  # the frame of a spectrum; beyond it the unit circle would be a dot
CELL = 0.8  # inches


def draw_iterates(columns: list[tuple[str, Tensor]], examples: Tensor, title: str) -> Any:
    r"""One column of points a heading, one row a start.

    Pixels are clipped to [0, 1] where the examples lie there. Else what is shown is stretched to their range, from 0 or
    symmetric about it, and the title says so.

    Args:
        columns: Headings and points (rows, \*shape), all of one shape.
        examples: Points whose range of values is shown.
        title: Above the picture.
    """
    from matplotlib.figure import Figure

    low, high = shown_range(examples)
    images = [(heading, as_images(points)) for heading, points in columns]
    count, _, height, width = images[0][1].shape
    across = CELL if height > 1 else 2 * CELL  # strips
    down = min(max(across * height / width, 0.3 * CELL), 2 * CELL)
    figure = Figure(figsize=(max(across * len(columns), 2.6), down * count + 0.7), dpi=DPI, layout="constrained")
    image_grid(figure, images, low, high)
    if height == 1:
        for axes in figure.axes:
            axes.set_aspect("auto")
    figure.suptitle(title if (low, high) == (0, 1) else f"{title}\nshown from {low:.3g} to {high:.3g}", fontsize=8)
    return figure


def shown_range(examples: Tensor) -> tuple[float, float]:
    """[0, 1] where all values lie there, else as far as they go: from 0, or to both sides of it."""
    low, high = (value.item() for value in examples.aminmax())
    if low < 0:
        return -max(-low, high), max(-low, high)
    return 0.0, max(high, 1.0)


def draw_spectrum(eigenvalues: Tensor, title: str) -> Any:
    """Eigenvalues, one row an example, as points of the complex plane with the unit circle.

    Those on or outside the circle differ by shape and colour, the largest of each example by its frame. What lies
    beyond ``FARTHEST`` is put on the rim of the picture, in its direction, and counted.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    modulus = eigenvalues.abs()
    leading = torch.zeros_like(modulus, dtype=torch.bool).scatter_(1, modulus.argmax(1, keepdim=True), value=True)
    limit = min(max(1.15 * modulus.max().item(), 1.15), FARTHEST)
    beyond = modulus > limit
    placed = torch.where(beyond, eigenvalues / modulus.clamp(min=1e-300) * limit, eigenvalues)
    figure = Figure(figsize=(3.6, 4.1), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.9", lw=0.8, zorder=0)
    axes.axvline(0, color="0.9", lw=0.8, zorder=0)
    axes.add_patch(Circle((0, 0), 1, fill=False, color="0.4", lw=1))
    for chosen, colour, marker, label in (
        (modulus < 1, BLUE, "o", "inside the unit circle"),
        (modulus >= 1, RED, "^", "on or outside it"),
    ):
        for first, size, width in ((False, 12, 0), (True, 28, 0.8)):
            points = placed[chosen & (leading == first)]
            axes.scatter(
                points.real.numpy(),
                points.imag.numpy(),
                s=size,
                c=colour,
                marker=marker,
                alpha=0.8 if first else 0.5,
                edgecolors="black",
                linewidths=width,
                label=None if first else f"{label} ({int(chosen.sum())})",
                clip_on=False,
                zorder=4 if first else 3,
            )
    axes.scatter([], [], s=28, facecolors="none", edgecolors="black", linewidths=0.8, label="largest of an example")
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.set_xlabel("real part", fontsize=8)
    axes.set_ylabel("imaginary part", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    note = f"\n{int(beyond.sum())} beyond |λ| = {limit:g}, drawn on the rim" if beyond.any() else ""
    figure.suptitle(f"{title}: largest |λ| = {modulus.max().item():.3g}{note}", fontsize=8)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7, handletextpad=0.2)
    return figure
