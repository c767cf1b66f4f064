"""Draw where iteration leads, for networks whose examples are points and not images.

On a line the orbits are a cobweb between the graph of the function and the diagonal; in a plane they are a map of the
starts and of where these end.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate
from memzoo.models import Autoencoder
from memzoo.plotting import BLUE, GREY, ORANGE

STEPS = 1000  # iterations in the map of a plane
COBWEB_STEPS = 30
MARGIN = 0.25  # beyond the points, of their range


def draw_line(model: Autoencoder) -> Any:
    """Draw the function, the diagonal, the training points, and the first and last start iterated as a cobweb."""
    import matplotlib.pyplot as plt

    examples, starts = travelling_images(model)
    ends = torch.cat([examples, starts])
    low = ends.min().item()
    high = ends.max().item()
    x = torch.linspace(low, high, 500)[:, None]
    with torch.no_grad():
        y = model(x)

    figure, axis = plt.subplots(figsize=(3.4, 3.4), layout="constrained")
    axis.plot([low, high], [low, high], color=GREY, lw=0.8)
    axis.plot(x[:, 0], y[:, 0], color=BLUE, lw=1.6, label="f")
    for start in (starts[:1], starts[-1:]):
        corners = _cobweb(model, start, low, high)
        axis.plot(*zip(*corners, strict=True), color=ORANGE, lw=0.9)
    axis.plot(examples[:, 0], examples[:, 0], "o", color="black", ms=5, label="training points")
    axis.set(xlabel="x", ylabel="f(x)", aspect="equal", xlim=(low, high))
    axis.set_ylim(min(low, y.min().item()), max(high, y.max().item()))
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _cobweb(model: Autoencoder, start: Tensor, low: float, high: float) -> list[tuple[float, float]]:
    """List the corners of a cobweb: from (x, x) up or down to (x, f(x)), then across to (f(x), f(x))."""
    orbit = iterate(model, start, COBWEB_STEPS, keep=range(COBWEB_STEPS + 1), tol=0.0)
    positions = [orbit.kept[t].item() for t in range(COBWEB_STEPS + 1)]
    corners = [(positions[0], positions[0])]
    for before, after in pairwise(positions):
        if not low <= before <= high:
            break  # it left the picture, and may diverge
        corners += [(before, after), (after, after)]
    return corners


def draw_plane(model: Autoencoder) -> Any:
    """Draw two coordinates: the training points, the starts, and where these are after many iterations."""
    import matplotlib.pyplot as plt

    examples, starts = travelling_images(model)
    ends = iterate(model, starts, STEPS).points
    figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.9), sharex=True, sharey=True, layout="constrained")
    for axis, points, title in zip(axes, (starts, ends), ("starts", f"after {STEPS} iterations"), strict=True):
        axis.plot(examples[:, 0], examples[:, -1], "o", color=ORANGE, ms=6, label="training points")
        axis.plot(points[:, 0], points[:, -1], ".", color=BLUE, ms=2.5, label="starts")
        axis.set_title(title, fontsize=9)
        axis.set(aspect="equal")
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    shown = torch.cat([examples, starts])
    low = shown.amin(0)
    high = shown.amax(0)
    room = MARGIN * (high - low)
    axes[0].set_xlim((low - room)[0].item(), (high + room)[0].item())
    axes[0].set_ylim((low - room)[-1].item(), (high + room)[-1].item())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=7, ncols=2, loc="outside lower center")
    return figure


def travelling_images(model: Autoencoder) -> tuple[Tensor, Tensor]:
    """Return the training images and the starts of a checkpoint, which every loaded or trained one has."""
    assert model.examples is not None
    assert model.probes is not None
    return model.examples, model.probes
