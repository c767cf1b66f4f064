"""The two pictures of a model card: the course of the training, and where iteration leads."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.models import Autoencoder, Ensemble
from memzoo.plotting import as_images, image_grid
from memzoo.zoo.cards.history import History
from memzoo.zoo.cards.point_pictures import draw_line, draw_plane
from memzoo.zoo.registry import CURVE, TRAJECTORIES

TIMES = (1, 2, 5, 10, 20, 200)
ALONG_A_CYCLE = (1, 2, 5, 10, 100, 101, 102, 103)  # whole turns alone would look like fixed points
SHOWN = 6
BLUE, ORANGE = "#0072B2", "#E69F00"  # distinct to every eye
DPI, COLOURS = 110, 256


def draw_pictures(model: Autoencoder, history: History | None, folder: Path, times: tuple[int, ...] = TIMES) -> None:
    """Write both into ``folder``, the orbits at these times; the same model and history give the same bytes here."""
    import matplotlib.pyplot as plt

    drawn = {TRAJECTORIES: draw_orbits(model, times)}
    if history is not None and history.loss:
        drawn[CURVE] = draw_training(history, several=isinstance(model, Ensemble))
    for name, figure in drawn.items():
        _save(figure, folder / name)
        plt.close(figure)


def _save(figure: Any, path: Path) -> None:
    """In few colours, which halves the file; an octree keeps rare ones too, where a median cut drops them."""
    from PIL import Image

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    every = Image.open(buffer).convert("RGB")
    every.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)


def draw_training(history: History, *, several: bool) -> Any:
    """Loss against optimizer steps, and below it the shares of attractors and of recovered images, where measured."""
    import matplotlib.pyplot as plt

    rows = [row for row in history.measured if row.get("attractor/fraction") is not None]
    figure, axes = plt.subplots(
        2 if rows else 1, 1, sharex=True, squeeze=False, figsize=(4.8, 3.4 if rows else 2.2), layout="constrained"
    )
    steps, losses = zip(*((step, loss) for step, loss in history.loss if loss > 0), strict=True)
    above = axes[0, 0]
    above.loglog([max(step, 1) for step in steps], losses, color=BLUE, lw=1.2)
    above.set_ylabel("largest loss of a\nmember in training" if several else "training loss", fontsize=8)
    if rows:
        below = axes[1, 0]
        for key, label, colour, width in (
            ("attractor/fraction", "certified attractors", BLUE, 4.0),
            ("attractor/recovered", "recovered by iteration", ORANGE, 1.8),
        ):
            shares = [row[key] for row in rows]
            at = [max(row["step"] or 0, 1) for row in rows]
            below.plot(at, shares, color=colour, lw=width, marker="o", ms=width + 2, label=label)
        below.set(ylim=(-0.04, 1.04))
        below.set_ylabel("share of the\ntraining images", fontsize=8)
        below.legend(frameon=False, fontsize=7, loc="center left")
    axes[-1, 0].set_xlabel("optimizer steps", fontsize=8)
    for panel in axes[:, 0]:
        panel.tick_params(which="both", labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def draw_orbits(model: Autoencoder, times: tuple[int, ...] = TIMES) -> Any:
    """Images where there are some, else a plot of the points."""
    if len(model.shape) > 1:
        return draw_trajectories(model, times)
    return draw_line(model) if model.shape == (1,) else draw_plane(model)


def draw_trajectories(model: Autoencoder, times: tuple[int, ...] = TIMES) -> Any:
    """A row a start: the first held-out ones, their iterates, and the training image nearest to the last of these.

    Of an ensemble, a row a member: its first start and its own training images.
    """
    import matplotlib.pyplot as plt

    columns, low, high = _orbits(model, times)
    count = len(columns[0][1])
    figure = plt.figure(figsize=(0.7 * len(columns), 0.7 * count + 0.3), layout="constrained")
    image_grid(figure, columns, low, high)
    return figure


def _orbits(model: Autoencoder, times: tuple[int, ...]) -> tuple[list[tuple[str, Tensor]], float, float]:
    """Columns of images, and the range of values that is shown."""
    examples, starts = model.examples, model.probes
    assert examples is not None
    assert starts is not None
    if isinstance(model, Ensemble):
        orbit = iterate(model, starts[:1], max(times), keep=times)
        kept = {t: x[0, :SHOWN] for t, x in orbit.kept.items()}
        first = starts[0, :SHOWN]
        own = examples.transpose(0, 1)[:SHOWN]  # (members, images of each, *shape)
        found = torch.stack([o[nearest(x[None], o).index[0]] for o, x in zip(own, orbit.points[0], strict=False)])
    else:
        orbit = iterate(model, starts[:SHOWN], max(times), keep=times)
        kept, first = orbit.kept, starts[:SHOWN]
        found = examples[nearest(orbit.points, examples).index]
    columns = [("start", first), *((f"t = {t}", kept[t]) for t in times), ("nearest\nimage", found)]
    wide = float(examples.abs().amax()) if examples.amin() < 0 else 0.0  # drawn pixels of either sign
    images = [(heading, as_images(x)) for heading, x in columns]
    return (images, -wide, wide) if wide else (images, 0.0, 1.0)
