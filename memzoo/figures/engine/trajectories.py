"""Rows of images: a start, what iteration makes of it, and the training image where it ends."""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine.style import WIDTH
from memzoo.plotting import as_images, image_grid

TIMES = (1, 2, 5, 10, 20, 200)


def orbits(model: torch.nn.Module, starts: Tensor, examples: Tensor, times: tuple[int, ...] = TIMES) -> Tensor:
    r"""Of each start: itself, its iterates at ``times``, and the training image nearest to the last one.

    Returns:
        (starts, len(times) + 2, \*shape)
    """
    orbit = iterate(model, starts, max(times), keep=times)
    found = examples[nearest(orbit.points, examples).index]
    return torch.stack([starts, *(orbit.kept[t] for t in times), found], 1)


def headings(times: tuple[int, ...] = TIMES) -> list[str]:
    """Over the columns of :func:`orbits`."""
    return ["start", *(f"t = {t}" for t in times), "training\nimage"]


def draw_orbits(rows: Tensor, times: tuple[int, ...] = TIMES, low: float = 0.0, high: float = 1.0) -> Any:
    """Picture of :func:`orbits`, a row a start."""
    import matplotlib.pyplot as plt

    count, columns = rows.shape[:2]
    side = min(0.82, WIDTH / columns)
    figure = plt.figure(figsize=(side * columns, side * count + 0.3), layout="constrained")
    fill_with_orbits(figure, rows, times, low, high)
    return figure


def fill_with_orbits(
    figure: Any, rows: Tensor, times: tuple[int, ...] = TIMES, low: float = 0.0, high: float = 1.0
) -> None:
    """The same inside a figure or subfigure."""
    columns = [(head, as_images(images)) for head, images in zip(headings(times), rows.unbind(1), strict=True)]
    image_grid(figure, columns, low, high)


def grey(noise: Tensor) -> Tensor:
    """Gaussian pixels of either sign as they are shown: two standard deviations reach from black to white."""
    return noise / 4 + 0.5


def draw_trajectories(model: torch.nn.Module, starts: Tensor, examples: Tensor) -> Any:
    """Picture with a row a start: the start, its iterates, and the training image nearest to the last one."""
    return draw_orbits(orbits(model, starts, examples))
