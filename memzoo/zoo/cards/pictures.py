"""Draw the two pictures of a model card: the course of the training, and where iteration leads."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.models import Autoencoder, Ensemble
from memzoo.plotting import BLUE, ORANGE, as_images, image_grid
from memzoo.zoo.cards.history import History
from memzoo.zoo.cards.point_pictures import draw_line, draw_plane, travelling_images
from memzoo.zoo.registry import CURVE, TRAJECTORIES

TIMES = (1, 2, 5, 10, 20, 200)
ALONG_A_CYCLE = (1, 2, 5, 10, 100, 101, 102, 103)  # whole turns alone would look like fixed points
SHOWN = 6  # starts, or members of an ensemble
DPI = 110
COLOURS = 256
SHARES = (  # key of a measurement, label, colour, width: a thin line over a wide one, since the two often coincide
    ("attractor/fraction", "certified attractors", BLUE, 4.0),
    ("attractor/recovered", "recovered by iteration", ORANGE, 1.8),
)


def draw_pictures(model: Autoencoder, history: History | None, folder: Path, times: tuple[int, ...] = TIMES) -> None:
    """Draw both pictures into ``folder``, the orbits at these times; the same input gives the same bytes."""
    import matplotlib.pyplot as plt

    figures = {TRAJECTORIES: draw_orbits(model, times)}
    if history is not None and history.loss:
        figures[CURVE] = draw_training(history, several=isinstance(model, Ensemble))
    for name, figure in figures.items():
        _save_in_few_colours(figure, folder / name)
        plt.close(figure)


def _save_in_few_colours(figure: Any, path: Path) -> None:
    """Save a figure as PNG with a palette, which halves the file."""
    from PIL import Image

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    image = Image.open(buffer).convert("RGB")
    # an octree keeps rare colours too, where a median cut drops them
    image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)


def draw_training(history: History, *, several: bool) -> Any:
    """Draw the loss against optimizer steps, and below it the shares of attractors and of recovered images.

    Args:
        history: History of the training; the shares are drawn if they were measured.
        several: Whether the loss is that of the members of an ensemble.
    """
    import matplotlib.pyplot as plt

    rows = [row for row in history.measured if row.get("attractor/fraction") is not None]
    panels = 2 if rows else 1
    height = 3.4 if rows else 2.2
    figure, axes = plt.subplots(panels, 1, sharex=True, squeeze=False, figsize=(4.8, height), layout="constrained")
    _draw_loss(axes[0, 0], history, several=several)
    if rows:
        _draw_shares(axes[1, 0], rows)
    axes[-1, 0].set_xlabel("optimizer steps", fontsize=8)
    for panel in axes[:, 0]:
        panel.tick_params(which="both", labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_loss(axes: Any, history: History, *, several: bool) -> None:
    """Draw the loss on logarithmic axes, which have no place for step 0 nor for a loss of 0."""
    steps, losses = zip(*((step, loss) for step, loss in history.loss if loss > 0), strict=True)
    axes.loglog([max(step, 1) for step in steps], losses, color=BLUE, lw=1.2)
    axes.set_ylabel("largest loss of a\nmember in training" if several else "training loss", fontsize=8)


def _draw_shares(axes: Any, rows: list[dict[str, float | None]]) -> None:
    """Draw the shares of the training images that were measured during the training."""
    steps = [max(row["step"] or 0, 1) for row in rows]
    for key, label, colour, width in SHARES:
        shares = [row[key] for row in rows]
        axes.plot(steps, shares, color=colour, lw=width, marker="o", ms=width + 2, label=label)
    axes.set(ylim=(-0.04, 1.04))
    axes.set_ylabel("share of the\ntraining images", fontsize=8)
    axes.legend(frameon=False, fontsize=7, loc="center left")


def draw_orbits(model: Autoencoder, times: tuple[int, ...] = TIMES) -> Any:
    """Draw the orbits of the starts: as images if the network maps images, else as points."""
    if len(model.shape) > 1:
        return draw_trajectories(model, times)
    return draw_line(model) if model.shape == (1,) else draw_plane(model)


def draw_trajectories(model: Autoencoder, times: tuple[int, ...] = TIMES) -> Any:
    """Draw a row a start: the first held-out ones, their iterates, and the training image nearest to the last of these.

    Of an ensemble, draw a row a member: its first start and its own training images.
    """
    import matplotlib.pyplot as plt

    columns = [(heading, as_images(images)) for heading, images in _compute_columns(model, times)]
    examples, _ = travelling_images(model)
    # drawn pixels are of either sign, those of a dataset lie in [0, 1]
    high = float(examples.abs().amax()) if examples.amin() < 0 else 1.0
    low = -high if examples.amin() < 0 else 0.0
    rows = len(columns[0][1])
    figure = plt.figure(figsize=(0.7 * len(columns), 0.7 * rows + 0.3), layout="constrained")
    image_grid(figure, columns, low, high)
    return figure


def _compute_columns(model: Autoencoder, times: tuple[int, ...]) -> list[tuple[str, Tensor]]:
    """Compute the columns of a picture of orbits, each with its heading."""
    examples, starts = travelling_images(model)
    if isinstance(model, Ensemble):
        first = starts[0, :SHOWN]
        # Each by itself: an orbit of all members together ends where the first of them diverges.
        orbits = [iterate(model.member(row), start[None], max(times), keep=times) for row, start in enumerate(first)]
        kept = {t: torch.cat([orbit.kept[t] for orbit in orbits]) for t in times}
        ends = torch.stack(
            [examples[:, row][nearest(orbit.points, examples[:, row]).index[0]] for row, orbit in enumerate(orbits)]
        )
    else:
        first = starts[:SHOWN]
        orbit = iterate(model, first, max(times), keep=times)
        kept = orbit.kept
        ends = examples[nearest(orbit.points, examples).index]
    return [("start", first), *((f"t = {t}", kept[t]) for t in times), ("nearest\nimage", ends)]
