"""Figure 2 of the paper: iterating a deep network on the Swiss roll gathers the points of a grid at training points."""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate
from memzoo.errors import UnknownCheckpointError
from memzoo.figures.engine import (
    BLACK,
    BLUE,
    ORANGE,
    VERMILION,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    report_number,
    tidy,
)

TIMES = (0, 11, 111, 1111)  # iterations, as in the paper
EPS = 0.05  # distance from a training point within which a start has arrived
VIEW = {"elev": 18.0, "azim": -62.0}  # direction from which space is seen, in degrees
PLANE = [0, 2]
"""Coordinates that are seen along the axis of the roll."""
MARGINS = {"left": 0.06, "right": 0.985, "top": 0.95, "bottom": 0.165, "hspace": 0.16, "wspace": 0.1}


def measure(material: Material) -> Arrays:
    """Follow the starts, and find those that end at a training point and the training points that attract."""
    m = material.measured()
    shape = tuple(m.examples.shape[1:])
    if shape != (3,):
        raise UnknownCheckpointError(
            f"{material.names[0]} maps points of shape {shape}, and this figure shows points of three coordinates."
        )
    *early, end = TIMES
    # the curve holds only the last points; the earlier ones are iterated once more
    last = m.curve(end, EPS)
    kept = iterate(m.model, m.probes, early[-1], keep=early, tol=None).kept
    return {
        "points": torch.stack([*(kept[t] for t in early), last.points]),
        "examples": m.examples,
        "attractor": m.certificates(EPS).attractor,
        "home": last.ended_at >= 0,
        "reached": last.reached,
    }


def draw(arrays: Arrays) -> Any:
    """Draw the points at each time: above in space, below as they are seen along the axis of the roll."""
    import matplotlib.pyplot as plt

    # axes in space are laid out by hand: matplotlib reserves room around them for labels that are not drawn
    figure = plt.figure(figsize=(WIDTH, 4.1))
    grid = figure.add_gridspec(2, len(TIMES), height_ratios=(1.15, 1), **MARGINS)
    every = arrays["points"].flatten(0, 1)
    limits = torch.stack([every.amin(0), every.amax(0)], 1)
    for column, (t, points) in enumerate(zip(TIMES, arrays["points"], strict=True)):
        away = ~arrays["home"] if t == TIMES[-1] else torch.zeros_like(arrays["home"])
        # matplotlib would sort the layers in space by their depth, and hide points behind others
        space = figure.add_subplot(grid[0, column], projection="3d", computed_zorder=False)
        _draw_space(space, limits)
        _scatter(space, points, arrays, away, depthshade=False)
        space.set_title(f"t = {t}", fontsize=8, pad=0)
        plane = figure.add_subplot(grid[1, column])
        _draw_plane(plane, limits, first=column == 0)
        flat = arrays | {"examples": arrays["examples"][:, PLANE]}
        _scatter(plane, points[:, PLANE], flat, away)
    add_legend(figure, figure.axes[-1], loc="lower center", ncols=4, handletextpad=0.2)
    return figure


def _draw_space(axes: Any, limits: Tensor) -> None:
    """Give axes in space the limits of all points, and equal units in all directions."""
    x, y, z = limits.tolist()
    axes.view_init(**VIEW)
    axes.set(xlim=x, ylim=y, zlim=z)
    axes.set_box_aspect((limits[:, 1] - limits[:, 0]).tolist(), zoom=1.22)
    for axis, name in ((axes.xaxis, "x"), (axes.yaxis, "y"), (axes.zaxis, "z")):
        axis.set_ticks([-1, 0, 1], [])
        axis.set_label_text(name, fontsize=7)
        axis.labelpad = -16


def _draw_plane(axes: Any, limits: Tensor, *, first: bool) -> None:
    """Give axes of the plane the limits of all points and a margin; only the first of a row has labels."""
    room = 0.06 * (limits[:, 1:] - limits[:, :1])
    wide = limits + torch.cat([-room, room], 1)
    x, z = wide[PLANE].tolist()
    axes.set(xlim=x, ylim=z, aspect="equal", xlabel="x", xticks=[-1, 0, 1], yticks=[-1, 0, 1, 2])
    if first:
        axes.set_ylabel("z")
    else:
        axes.set_yticklabels([])
    tidy(axes)


def _scatter(axes: Any, points: Tensor, arrays: Arrays, away: Tensor, **options: Any) -> None:
    """Draw training points that attract and that do not, and starts that are on their way and that have not arrived."""
    examples = arrays["examples"]
    attractor = arrays["attractor"]

    def add(group: Tensor, label: str, **style: Any) -> None:
        axes.scatter(*group.T, label=label, **{"lw": 0, **options, **style})

    add(examples[attractor], "training point, attractor", color=ORANGE, s=11, zorder=1)
    hollow = {"facecolor": "none", "edgecolor": VERMILION, "lw": 0.7}
    add(examples[~attractor], "training point, no attractor", s=11, zorder=1, **hollow)
    add(points[~away], "start, iterated t times", color=BLUE, s=3.5, zorder=2)
    add(points[away], "start that has not arrived", color=BLACK, marker="x", s=16, lw=0.8, zorder=3)


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts, and count the training points at which a start ends."""
    reached = arrays["reached"].sum().double().item()
    quantity = f"training points where one of the starts ends by t = {TIMES[-1]}"
    return [*material.rows(), report_number(quantity, reached, material.names[0])]


FIGURE = Figure(
    "fig2",
    "Figure 2: trajectories from a grid around the Swiss roll end at the training points",
    measure,
    draw,
    rows=make_rows,
    caption="1000 starts on a grid (blue) after t iterations, and the 100 training points (orange; hollow those that "
    f"are not certified as attractors). Crosses: starts farther than {EPS:g} from every training point at the end. "
    "Below, the same seen along the axis of the roll.",
    notes=(
        "The paper says that most trajectories converge to training points; its grid, its units and how near counts "
        "are not given. Ours fills the box around the roll, whose coordinates have a standard deviation of 1.",
    ),
)
