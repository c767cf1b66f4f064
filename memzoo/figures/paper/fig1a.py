"""Figure 1a: networks on a line, two training points: arbitrary interpolation, contraction, strong attraction."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate
from memzoo.figures.engine import BLUE, COLUMN, GREY, VERMILION, Arrays, Figure, Material, Row, tidy

CHECKPOINTS = ("line2-fc2x100", "line2-fc3x50", "line2-fc10x50")
PANELS = ("panel 1", "panel 2", "panel 4")
"""Where each function is drawn; panel 3 iterates that of panel 2."""
TITLES = ("1  large initial values", "2  shallow", "3  panel 2, iterated", "4  deep")
TURNS = 30
STARTS = (-2.0, -0.1, 0.1, 2.0)
"""Of the cobweb: the ends of the line, and both sides of its middle."""
NEAR = (0.0, 0.8)  # of the inset, where the steps are small
STEPS, EPS = 200, 0.1
RESOLUTION = 801


def arrays(material: Material) -> Arrays:
    """Each function over the line, its slopes at the training points, and the orbits of panel 3."""
    first, middle = material.measured(0), material.measured(1)
    low, high = first.probes.min().item(), first.probes.max().item()
    x = torch.linspace(low, high, RESOLUTION)[:, None]
    with torch.no_grad():
        y = torch.stack([material.model(index)(x)[:, 0] for index in range(len(material))])
    starts = torch.tensor(STARTS)[:, None]
    kept = iterate(middle.model, starts, TURNS, keep=range(TURNS + 1), tol=0.0).kept
    return {
        "x": x[:, 0],
        "y": y,
        "examples": first.examples[:, 0],
        "slopes": torch.stack([material.measured(index).spectrum.eigenvalues[:, 0].real for index in range(3)]),
        "orbits": torch.stack([kept[t][:, 0] for t in range(TURNS + 1)], 1),
        "arrived": torch.stack([material.measured(index).curve(STEPS, EPS).arrived for index in range(3)]),
    }


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts of each panel, where the orbits of panel 3 end, and the slopes of panel 4 beside those of panel 2."""
    found: list[Row] = []
    for index, panel in enumerate(PANELS):
        found += material.rows(index, prefix=f"{panel}: ")
        if panel == "panel 2":
            found.append(_iterated(material, arrays))
    shallow, deep = (material.measured(index).spectrum.radius.max().item() for index in (1, 2))
    flatter = Row(
        "panel 4: largest slope, relative to that of panel 2",
        "strongly attractive",
        deep / shallow,
        deep < shallow,
        material.names[2],
        "< 1",
    )
    return [*found, flatter]


def _iterated(material: Material, arrays: Arrays) -> Row:
    share, x = arrays["arrived"][1, STEPS].item(), arrays["x"]
    return Row(
        f"panel 3: share of starts in [{x[0]:g}, {x[-1]:g}] within {EPS:g} of a training point at t = {STEPS}",
        "almost all",
        share,
        share >= 0.95,
        material.names[1],
        ">= 0.95",
    )


def draw(arrays: Arrays) -> Any:
    """Four panels in the paper's places."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(COLUMN, COLUMN + 0.35), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    low, high = arrays["x"][0].item(), arrays["x"][-1].item()
    ticks = [-2, -1, 0, 1, 2]
    for axes, title, which in zip(grid.flat, TITLES, (0, 1, 1, 2), strict=True):
        iterated = title == TITLES[2]
        _draw_function(axes, arrays, which, iterated)
        if iterated:
            near = axes.inset_axes((0.55, 0.06, 0.43, 0.43))
            _draw_function(near, arrays, which, iterated)
            near.set(xlim=NEAR, ylim=NEAR, aspect="equal", xticks=[], yticks=[])
            axes.indicate_inset_zoom(near, edgecolor="black", lw=0.5, alpha=0.6)
        else:
            slopes = ", ".join(f"{slope:.2f}" for slope in arrays["slopes"][which].tolist())
            axes.annotate(f"slopes {slopes}", (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=6.5)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", xticks=ticks, yticks=ticks)
        axes.set_title(title)
        tidy(axes)
    for axes in grid[1]:
        axes.set_xlabel("x", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("f(x)", fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def _draw_function(axes: Any, arrays: Arrays, which: int, iterated: bool) -> None:
    x, examples = arrays["x"], arrays["examples"]
    axes.plot(x[[0, -1]], x[[0, -1]], color=GREY, lw=0.8, label="f(x) = x")
    axes.plot(x, arrays["y"][which], color=BLUE, lw=1.0 if iterated else 1.4, label="f")
    if iterated:
        for orbit in arrays["orbits"]:
            axes.plot(*cobweb(orbit).unbind(1), color=VERMILION, lw=0.8)
            axes.plot(orbit[0], orbit[0], "o", ms=3, color=VERMILION)
    axes.plot(examples, examples, "*", color="black", ms=7, mew=0, zorder=3, label="training points")


def cobweb(orbit: Tensor) -> Tensor:
    """Corners (2 T + 1, 2) of the staircase of an orbit x_0, ..., x_T between the function and the diagonal."""
    corners = [(orbit[0], orbit[0])]
    for before, after in pairwise(orbit):
        corners += [(before, after), (after, after)]
    return torch.tensor(corners)


FIGURE = Figure(
    "fig1a",
    "Figure 1a: autoencoders of the line interpolate two points, and contract to them unless they start large",
    arrays,
    draw,
    lambda: list(CHECKPOINTS),
    rows,
    caption="The learned function (blue), the diagonal and the two training points. 1: large initial values, the "
    "points are repelling; the function leaves the picture. 2: a shallow network, slopes below 1. 3: the same "
    f"function iterated {TURNS} times from the ends of the line and from both sides of its middle (dots), and "
    "enlarged a part of it. 4: a deep network, flatter at the points. Slopes are those at the left and the right "
    "training point.",
    notes=(
        "The paper gives neither the two points nor the sizes of the networks. Ours are -1 and 1. The deep network "
        "starts from Xavier values half as large; from full ones its slopes depend on the seed (.4 to .98).",
    ),
)
