"""Where iteration leads, for networks whose examples are points and no images: a cobweb on a line, a map of a plane."""

from itertools import pairwise
from typing import Any

import torch

from memzoo.dynamics import iterate
from memzoo.models import Autoencoder

BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#999999"
STEPS, TURNS = 1000, 30
MARGIN = 0.25  # beyond the points, of their range


def draw_line(model: Autoencoder) -> Any:
    """The function, the diagonal, the training points, and the first and last start iterated as a cobweb."""
    import matplotlib.pyplot as plt

    examples, starts = model.examples, model.probes
    assert examples is not None
    assert starts is not None
    ends = torch.cat([examples, starts])
    low, high = ends.min().item(), ends.max().item()
    x = torch.linspace(low, high, 500)[:, None]
    with torch.no_grad():
        y = model(x)
    figure, axis = plt.subplots(figsize=(3.4, 3.4), layout="constrained")
    axis.plot([low, high], [low, high], color=GREY, lw=0.8)
    axis.plot(x[:, 0], y[:, 0], color=BLUE, lw=1.6, label="f")
    for start in (starts[:1], starts[-1:]):
        orbit = iterate(model, start, TURNS, keep=range(TURNS + 1), tol=0.0)
        at = [orbit.kept[t].item() for t in range(TURNS + 1)]
        corners = [(at[0], at[0])]
        for before, after in pairwise(at):
            if not low <= before <= high:
                break  # it left the picture, and may diverge
            corners += [(before, after), (after, after)]
        axis.plot(*zip(*corners, strict=True), color=ORANGE, lw=0.9)
    axis.plot(examples[:, 0], examples[:, 0], "o", color="black", ms=5, label="training points")
    axis.set(xlabel="x", ylabel="f(x)", aspect="equal", xlim=(low, high))
    axis.set_ylim(min(low, y.min().item()), max(high, y.max().item()))
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_plane(model: Autoencoder) -> Any:
    """Two coordinates: the training points, the starts, and where these are after many iterations."""
    import matplotlib.pyplot as plt

    examples, starts = model.examples, model.probes
    assert examples is not None
    assert starts is not None
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
    low, high = shown.amin(0), shown.amax(0)
    room = MARGIN * (high - low)
    axes[0].set_xlim((low - room)[0].item(), (high + room)[0].item())
    axes[0].set_ylim((low - room)[-1].item(), (high + room)[-1].item())
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=7, ncols=2, loc="outside lower center")
    return figure
