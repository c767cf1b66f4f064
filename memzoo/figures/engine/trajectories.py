"""Follow orbits of images, and draw each as a row: the start, what iteration makes of it, and where it ends.

The paper shows its evidence in this way in Figures 1b, 3, 5, 9, 10 and 11.
"""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine.drawing import create_figure, shift_to_grey
from memzoo.figures.engine.style import WIDTH
from memzoo.plotting import as_images, image_grid

TIMES = (1, 2, 5, 10, 20, 200)


def follow_orbits(model: torch.nn.Module, starts: Tensor, examples: Tensor, times: tuple[int, ...] = TIMES) -> Tensor:
    r"""Follow the orbit of each start.

    Returns:
        (starts, len(times) + 2, \*shape): the start, its iterates at ``times``, and the training image nearest to the
        last of these.
    """
    orbit = iterate(model, starts, max(times), keep=times)
    ends = examples[nearest(orbit.points, examples).index]
    iterates = [orbit.kept[t] for t in times]
    return torch.stack([starts, *iterates, ends], 1)


def name_columns(times: tuple[int, ...] = TIMES) -> list[str]:
    """Name the columns of :func:`follow_orbits`."""
    return ["start", *(f"t = {t}" for t in times), "training\nimage"]


def show_noise_as_grey(orbits: Tensor, rows: slice = slice(None)) -> Tensor:
    """Copy orbits whose starts in ``rows`` are Gaussian, with these starts as they are shown."""
    shown = orbits.clone()
    shown[rows, 0] = shift_to_grey(shown[rows, 0])
    return shown


def draw_orbits(orbits: Tensor, times: tuple[int, ...] = TIMES) -> Any:
    """Draw the result of :func:`follow_orbits`, a row for each start."""
    count, columns = orbits.shape[:2]
    side = min(0.82, WIDTH / columns)
    figure = create_figure(side * columns, side * count + 0.3)
    fill_with_orbits(figure, orbits, times)
    return figure


def fill_with_orbits(figure: Any, orbits: Tensor, times: tuple[int, ...] = TIMES) -> None:
    """Draw the result of :func:`follow_orbits` inside a figure or subfigure."""
    columns = [as_images(images) for images in orbits.unbind(1)]
    image_grid(figure, list(zip(name_columns(times), columns, strict=True)))


def draw_trajectories(model: torch.nn.Module, starts: Tensor, examples: Tensor) -> Any:
    """Draw a row for each start: the start, its iterates, and the training image nearest to the last of these."""
    return draw_orbits(follow_orbits(model, starts, examples))
