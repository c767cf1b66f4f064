"""Figure 2: iterating a deep network on the Swiss roll gathers the points of a grid at its training points."""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate
from memzoo.errors import UnknownCheckpointError
from memzoo.figures.engine import BLACK, BLUE, ORANGE, VERMILION, WIDTH, Arrays, Figure, Material, Row, tidy

TIMES = (0, 11, 111, 1111)
EPS = 0.05
VIEW = {"elev": 18.0, "azim": -62.0}


def arrays(material: Material) -> Arrays:
    """The starts at each time, those that are at a training point at the last, and the training points that attract."""
    m = material.measured()
    if m.examples.shape[1:] != (3,):
        raise UnknownCheckpointError(
            f"{material.names[0]} maps points of shape {tuple(m.examples.shape[1:])}, and this figure shows points of "
            "three coordinates."
        )
    last = m.curve(TIMES[-1], EPS)
    kept = iterate(m.model, m.probes, TIMES[-2], keep=TIMES[:-1], tol=None).kept
    return {
        "points": torch.stack([*(kept[t] for t in TIMES[:-1]), last.points]),
        "examples": m.examples,
        "attractor": m.certificates(EPS).attractor,
        "home": last.ended_at >= 0,
        "reached": last.reached,
    }


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts, and how many of the training points are an end."""
    reached = arrays["reached"].sum().double().item()
    quantity = f"training points where one of the starts ends by t = {TIMES[-1]}"
    return [*material.rows(), Row(quantity, "", reached, None, material.names[0])]


def draw(arrays: Arrays) -> Any:
    """The points in space, and below as seen along the axis of the roll, at each time."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 4.1))
    grid = figure.add_gridspec(
        2, len(TIMES), left=0.06, right=0.985, top=0.95, bottom=0.165, hspace=0.16, wspace=0.1, height_ratios=(1.15, 1)
    )
    examples = arrays["examples"]
    every = arrays["points"].flatten(0, 1)
    limits = torch.stack([every.amin(0), every.amax(0)], 1)
    for column, (t, points) in enumerate(zip(TIMES, arrays["points"], strict=True)):
        away = ~arrays["home"] if t == TIMES[-1] else torch.zeros(len(points), dtype=torch.bool)
        space: Any = figure.add_subplot(grid[0, column], projection="3d", computed_zorder=False)
        _scatter(space, points, examples, arrays["attractor"], away)
        space.view_init(**VIEW)
        space.set(xlim=limits[0].tolist(), ylim=limits[1].tolist(), zlim=limits[2].tolist())
        space.set_box_aspect((limits[:, 1] - limits[:, 0]).tolist(), zoom=1.22)
        for axis, name in ((space.xaxis, "x"), (space.yaxis, "y"), (space.zaxis, "z")):
            axis.set_ticks([-1, 0, 1], [])
            axis.set_label_text(name, fontsize=7)
            axis.labelpad = -16
        space.set_title(f"t = {t}", fontsize=8, pad=0)
        plane = figure.add_subplot(grid[1, column])
        flat = [0, 2]
        _scatter(plane, points[:, flat], examples[:, flat], arrays["attractor"], away)
        room = 0.06 * (limits[:, 1:] - limits[:, :1])
        wide = (limits + torch.cat([-room, room], 1)).tolist()
        plane.set(
            xlim=wide[0],
            ylim=wide[2],
            aspect="equal",
            xlabel="x",
            xticks=[-1, 0, 1],
            yticks=[-1, 0, 1, 2],
        )
        if column == 0:
            plane.set_ylabel("z")
        else:
            plane.set_yticklabels([])
        tidy(plane)
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=7, handletextpad=0.2)
    return figure


def _scatter(axes: Any, points: Tensor, examples: Tensor, attractor: Tensor, away: Tensor) -> None:
    moving = {"s": 3.5, "lw": 0, "depthshade": False} if points.shape[1] == 3 else {"s": 3.5, "lw": 0}
    still = moving | {"s": 11}
    axes.scatter(*examples[attractor].T, color=ORANGE, zorder=1, **still, label="training point, attractor")
    other = still | {"lw": 0.7}
    axes.scatter(
        *examples[~attractor].T,
        facecolor="none",
        edgecolor=VERMILION,
        zorder=1,
        **other,
        label="training point, no attractor",
    )
    axes.scatter(*points[~away].T, color=BLUE, zorder=2, **moving, label="start, iterated t times")
    crosses = moving | {"s": 16, "lw": 0.8}
    axes.scatter(*points[away].T, marker="x", color=BLACK, zorder=3, **crosses, label="start that has not arrived")


FIGURE = Figure(
    "fig2",
    "Figure 2: trajectories from a grid around the Swiss roll end at the training points",
    arrays,
    draw,
    rows=rows,
    caption="1000 starts on a grid (blue) after t iterations, and the 100 training points (orange; hollow those that "
    f"are not certified as attractors). Crosses: starts farther than {EPS:g} from every training point at the end. "
    "Below, the same seen along the axis of the roll.",
    notes=(
        "The paper says that most trajectories converge to training points; its grid, its units and how near counts "
        "are not given. Ours fills the box around the roll, whose coordinates have a standard deviation of 1.",
    ),
)
