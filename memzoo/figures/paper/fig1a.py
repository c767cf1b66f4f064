"""Figure 1a of the paper: autoencoders of the line, trained on two points.

The paper shows four panels: arbitrary interpolation from large initial values, contraction to the points by a shallow
network, the same network iterated, and a deep network whose attraction is strong.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate
from memzoo.figures.engine import (
    BLUE,
    COLUMN,
    GREY,
    VERMILION,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    tidy,
)

CHECKPOINTS = ("line2-fc2x100", "line2-fc3x50", "line2-fc10x50")
PANELS = ("panel 1", "panel 2", "panel 4")
"""Panels in which the functions are drawn; panel 3 iterates the function of panel 2."""
TITLES = ("1  large initial values", "2  shallow", "3  panel 2, iterated", "4  deep")
ITERATED = 2  # position of panel 3
TURNS = 30  # iterations of the cobweb
STARTS = (-2.0, -0.1, 0.1, 2.0)
"""Starts of the cobweb: the ends of the line, and both sides of its middle."""
NEAR = (0.0, 0.8)  # part of the line that the inset enlarges, because the steps are small there
STEPS = 200  # iterations after which orbits count as arrived
EPS = 0.1  # distance from a training point within which they do
RESOLUTION = 801  # points at which a function is drawn


def measure(material: Material) -> Arrays:
    """Measure each function over the line, its slopes at the training points, and the orbits of panel 3."""
    measured = material.measure_all()
    first, middle, _ = measured
    low = first.probes.min().item()
    high = first.probes.max().item()
    x = torch.linspace(low, high, RESOLUTION)[:, None]
    with torch.no_grad():
        y = [m.model(x)[:, 0] for m in measured]
    starts = torch.tensor(STARTS)[:, None]
    times = range(TURNS + 1)
    kept = iterate(middle.model, starts, TURNS, keep=times, tol=0.0).kept  # tol=0: no orbit stops early
    orbits = [kept[t][:, 0] for t in times]
    # the only eigenvalue of the Jacobian of a function of the line is its slope
    slopes = [m.spectrum.eigenvalues[:, 0].real for m in measured]
    arrived = [m.curve(STEPS, EPS).arrived for m in measured]
    return {
        "x": x[:, 0],
        "y": torch.stack(y),
        "examples": first.examples[:, 0],
        "slopes": torch.stack(slopes),
        "orbits": torch.stack(orbits, 1),
        "arrived": torch.stack(arrived),
    }


def draw(arrays: Arrays) -> Any:
    """Draw four panels in the places that they have in the paper."""
    figure = create_figure(COLUMN, COLUMN + 0.35)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    limits = arrays["x"][[0, -1]].tolist()
    ticks = [-2, -1, 0, 1, 2]
    for panel, (axes, which) in enumerate(zip(grid.flat, (0, 1, 1, 2), strict=True)):
        if panel == ITERATED:
            _draw_iteration(axes, arrays, which)
        else:
            _draw_function(axes, arrays, which, width=1.4)
            slopes = ", ".join(f"{slope:.2f}" for slope in arrays["slopes"][which].tolist())
            axes.annotate(f"slopes {slopes}", (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=6.5)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xticks=ticks, yticks=ticks)
        axes.set_title(TITLES[panel])
        tidy(axes)
    for axes in grid[1]:
        axes.set_xlabel("x", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("f(x)", fontsize=8)
    add_legend(figure, grid[0, 0], loc="outside lower center", ncols=3)
    return figure


def _draw_function(axes: Any, arrays: Arrays, which: int, width: float) -> None:
    x = arrays["x"]
    ends = x[[0, -1]]
    axes.plot(ends, ends, color=GREY, lw=0.8, label="f(x) = x")
    axes.plot(x, arrays["y"][which], color=BLUE, lw=width, label="f")
    examples = arrays["examples"]
    axes.plot(examples, examples, "*", color="black", ms=7, mew=0, zorder=3, label="training points")


def _draw_iteration(axes: Any, arrays: Arrays, which: int) -> None:
    """Draw the cobwebs of the orbits over the function, in the panel and in an inset that enlarges a part of it."""
    near = axes.inset_axes((0.55, 0.06, 0.43, 0.43))
    for part in (axes, near):
        _draw_function(part, arrays, which, width=1.0)
        for orbit in arrays["orbits"]:
            part.plot(*trace_cobweb(orbit).unbind(1), color=VERMILION, lw=0.8)
            part.plot(orbit[0], orbit[0], "o", ms=3, color=VERMILION)
    near.set(xlim=NEAR, ylim=NEAR, aspect="equal", xticks=[], yticks=[])
    axes.indicate_inset_zoom(near, edgecolor="black", lw=0.5, alpha=0.6)


def trace_cobweb(orbit: Tensor) -> Tensor:
    """Compute the corners (2 T + 1, 2) of the staircase of an orbit x_0, ..., x_T between function and diagonal."""
    corners = [(orbit[0], orbit[0])]
    # up or down to the function at (x_t, x_t+1), then along to the diagonal at (x_t+1, x_t+1)
    for before, after in pairwise(orbit):
        corners += [(before, after), (after, after)]
    return torch.tensor(corners)


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts of each panel, where the orbits of panel 3 end, and how the slopes of panels 2 and 4 compare."""
    first, second, fourth = (material.rows(index, prefix=f"{panel}: ") for index, panel in enumerate(PANELS))
    x = arrays["x"]
    share = arrays["arrived"][1, STEPS].item()
    third = Row(
        f"panel 3: share of starts in [{x[0]:g}, {x[-1]:g}] within {EPS:g} of a training point at t = {STEPS}",
        "almost all",
        share,
        share >= 0.95,
        material.names[1],
        ">= 0.95",
    )
    shallow = material.measured(1).spectrum.radius.max().item()
    deep = material.measured(2).spectrum.radius.max().item()
    flatter = Row(
        "panel 4: largest slope, relative to that of panel 2",
        "strongly attractive",
        deep / shallow,
        deep < shallow,
        material.names[2],
        "< 1",
    )
    return [*first, *second, third, *fourth, flatter]


FIGURE = Figure(
    "fig1a",
    "Figure 1a: autoencoders of the line interpolate two points, and contract to them unless they start large",
    measure,
    draw,
    lambda: list(CHECKPOINTS),
    make_rows,
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
