"""Figure 3a: iterating a 7-layer network takes test images to some of its 100 MNIST training images."""

from typing import Any

import torch

from memzoo.figures.engine import (
    BLUE,
    ORANGE,
    WIDTH,
    Arrays,
    Claim,
    Figure,
    Material,
    Row,
    fill_with_orbits,
    key,
    orbits,
    tidy,
)

CHECKPOINTS = ("mnist100-fc7x128", "mnist100-fc10x256")
NAMES = ("7 layers of 128", "10 layers of 256")
TIMES = (1, 5, 10, 20, 1000)
SHOWN = 5
STEPS, EPS = 1000, 0.5


def arrays(material: Material) -> Arrays:
    """Of each network: orbits of the first starts, starts that have arrived and images recovered at each time."""
    measured = [material.measured(index) for index in range(len(material))]
    curves = [m.curve(STEPS, EPS) for m in measured]
    return {
        "orbits": torch.stack([orbits(m.model, m.probes[:SHOWN], m.examples, TIMES) for m in measured]),
        "arrived": torch.stack([curve.arrived for curve in curves]),
        "recovery": torch.stack([curve.rate for curve in curves]),
    }


def rows(material: Material, _: Arrays) -> list[Row]:
    """The facts of both networks."""
    return [row for index, name in enumerate(NAMES) for row in material.rows(index, prefix=f"{name}: ")]


def draw(arrays: Arrays) -> Any:
    """Trajectories in both networks, and below what has arrived and what is recovered against time."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 4.9), layout="constrained")
    panels: Any = figure.subfigures(2, 1, height_ratios=(2.8, 1.8), hspace=0.03)
    above, below = panels
    for panel, name, images in zip(above.subfigures(1, 2, wspace=0.02), NAMES, arrays["orbits"], strict=True):
        panel.suptitle(name, fontsize=9)
        fill_with_orbits(panel, images, TIMES)
    labels = ("share of starts\nat a training image", "share of training\nimages reached, $R_t$")
    for axes, name, label in zip(below.subplots(1, 2), ("arrived", "recovery"), labels, strict=True):
        for curve, network, colour, line in zip(arrays[name], NAMES, (BLUE, ORANGE), ("-", "--"), strict=True):
            axes.plot(range(len(curve)), curve, line, lw=1.5, color=colour, label=network)
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.set(xlabel="iterations t", ylabel=label, ylim=(-0.02, 1.03), xlim=(0, STEPS))
        axes.set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1000"])
        tidy(axes)
    key(below.axes[0], loc="lower right")
    return figure


FIGURE = Figure(
    "fig3a",
    "Figure 3a: trajectories of test images end at training images of a 7-layer network",
    arrays,
    draw,
    lambda: list(CHECKPOINTS),
    rows,
    claims={"certified attractors": Claim(least=100, paper="all")},
    caption="Above: a row a test image (the first ones): the image, its iterates, and the training image nearest to "
    f"the last of these. Below: share of 1000 starts within {EPS:g} (L2) of a training image, and share of the 100 "
    "training images that some start is that near to, R_t.",
    notes=(
        "Every training image is an attractor, and almost every trajectory ends at one; but not every image is reached "
        "from these 1000 starts. R_200 near 1, which we aimed at, is not reached by either network (the paper "
        "gives no number here); the deeper and wider one, which is not in the paper, comes nearer.",
    ),
)
