"""Figure 3a of the paper: iterating a 7-layer network takes test images to some of its 100 MNIST training images."""

from typing import Any

import torch

from memzoo.dynamics import nearest
from memzoo.figures.engine import (
    BLUE,
    ORANGE,
    WIDTH,
    Arrays,
    Claim,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    fill_with_orbits,
    follow_orbits,
    report_number,
    set_iteration_axis,
    tidy,
)

CHECKPOINTS = ("mnist100-fc7x128-tanh", "mnist100-fc7x128", "mnist100-fc10x256", "mnist100-fc14x256-tanh")
NAMES = ("7 layers of 128, tanh", "7 layers of 128, ReLU", "10 layers of 256, ReLU", "14 layers of 256, tanh")
WITH_ORBITS = 2  # first networks, whose orbits are drawn as images
STYLES = (
    {"color": BLUE, "ls": "-"},
    {"color": BLUE, "ls": "--"},
    {"color": ORANGE, "ls": "--"},
    {"color": ORANGE, "ls": "-"},
)
CURVES = {
    "arrived": "share of starts\nat a training image",
    "recovery": "share of training\nimages reached, $R_t$",
}
"""Arrays that are drawn as curves, with their labels."""
TIMES = (1, 5, 10, 20, 1000)  # iterations that are drawn as images
TICKS = (0, 1, 10, 100, 1000)
SHOWN = 5  # starts that are drawn as images
STEPS = 1000  # iterations of the curves
EPS = 0.5  # distance from a training image within which a start has arrived, L2


def measure(material: Material) -> Arrays:
    """Measure for each network the first orbits, and at each time the starts that arrived and the images recovered."""
    measured = material.measure_all()
    shown = measured[:WITH_ORBITS]
    orbits = [follow_orbits(m.model, m.probes[:SHOWN], m.examples, TIMES) for m in shown]
    starts = measured[0].probes
    examples = measured[0].examples
    found = nearest(starts, examples).index.unique()
    curves = [m.curve(STEPS, EPS) for m in measured]
    return {
        "orbits": torch.stack(orbits),
        "arrived": torch.stack([curve.arrived for curve in curves]),
        "recovery": torch.stack([curve.rate for curve in curves]),
        "found": torch.tensor(len(found) / len(examples)),
    }


def draw(arrays: Arrays) -> Any:
    """Draw orbits in both networks, and below what has arrived and what is recovered against time."""
    figure = create_figure(WIDTH, 4.9)
    above, below = figure.subfigures(2, 1, height_ratios=(2.8, 1.8), hspace=0.03)
    panels = above.subfigures(1, 2, wspace=0.02)
    for panel, name, orbits in zip(panels, NAMES, arrays["orbits"], strict=False):
        panel.suptitle(name, fontsize=9)
        fill_with_orbits(panel, orbits, TIMES)
    for axes, (curves, label) in zip(below.subplots(1, 2), CURVES.items(), strict=True):
        for network, curve, style in zip(NAMES, arrays[curves], STYLES, strict=True):
            axes.plot(range(len(curve)), curve, lw=1.5, label=network, **style)
        axes.set(ylabel=label, ylim=(-0.02, 1.03), xlim=(0, STEPS))
        set_iteration_axis(axes, TICKS)
        tidy(axes)
    below.axes[1].axhline(arrays["found"], color="0.5", lw=0.8, ls=":")
    add_legend(below.axes[0], loc="lower right")
    return figure


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts of the networks, and the share of the images that are nearest to some start."""
    quantity = "share of the training images that looking up the nearest one finds from these starts"
    return [
        *material.name_rows(NAMES),
        report_number(quantity, float(arrays["found"]), material.names[0]),
    ]


FIGURE = Figure(
    "fig3a",
    "Figure 3a: trajectories of test images end at training images of a 7-layer network",
    measure,
    draw,
    lambda: list(CHECKPOINTS),
    make_rows,
    claims={"certified attractors": Claim(least=100, paper="all")},
    caption="Above: a row a test image (the first ones): the image, its iterates, and the training image nearest to "
    f"the last of these. Below: share of 1000 starts within {EPS:g} (L2) of a training image, and share of the 100 "
    "training images that some start is that near to, R_t; dotted: share of the images that looking up the one nearest "
    "to each start finds.",
    notes=(
        "Every training image is an attractor, and almost every trajectory ends at one. The number of images that are "
        "reached depends on the starts: looking up the nearest image finds 91 from these 1000. From all 10,000 test "
        "images the networks of tanh units reach all 100 (the paper gives no number here).",
    ),
)
