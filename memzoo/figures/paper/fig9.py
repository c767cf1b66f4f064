"""Figure 9: 29 leaky convolutions of one filter take Gaussian inputs to the one 4x4 image they were trained on."""

from typing import Any

import torch

from memzoo.data import gaussian_noise
from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine import (
    BLUE,
    GREY,
    VERMILION,
    WIDTH,
    Arrays,
    Claim,
    Figure,
    Material,
    Row,
    fill_with_orbits,
    grey,
    key,
    orbits,
    tidy,
)

TIMES = (1, 2, 5, 10, 100)
SHOWN = 5
COUNT, STEPS, RELATIVE = 1000, 100, 0.05


def arrays(material: Material) -> Arrays:
    """Orbits of the first inputs, and how far 1000 inputs are from the training image at each time."""
    m = material.measured()
    starts = gaussian_noise(COUNT, m.model.config.shape, seed=0)
    kept = iterate(m.model, starts, STEPS, keep=range(STEPS + 1), tol=0.0).kept
    found = [nearest(kept[t], m.examples) for t in range(STEPS + 1)]
    norms = m.examples.flatten(1).norm(dim=1).double()
    distances = torch.stack([one.distance / norms[one.index] for one in found])
    levels = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    return {
        "orbits": orbits(m.model, starts[:SHOWN], m.examples, TIMES),
        "distance": distances.quantile(levels, dim=1),
        "arrived": (distances <= RELATIVE).double().mean(1),
    }


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts, and what a single iteration and ten give."""
    reported = [
        Row(f"share of Gaussian inputs within {RELATIVE:g} of the image at t = {t}", "", share, None, material.names[0])
        for t, share in ((t, arrays["arrived"][t].item()) for t in (1, 10))
    ]
    return [*material.rows(), *reported]


def draw(arrays: Arrays) -> Any:
    """A row an input, and the distance from the image against time."""
    import matplotlib.pyplot as plt

    shown = arrays["orbits"].clone()
    shown[:, 0] = grey(shown[:, 0])
    figure = plt.figure(figsize=(WIDTH, 2.8), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(4.1, 3.1))
    left, right = panels
    fill_with_orbits(left, shown, TIMES)
    axes = right.subplots()
    low, median, high = arrays["distance"]
    times = torch.arange(len(median))
    axes.fill_between(times, low, high, color=BLUE, alpha=0.2, lw=0, label=f"all of {COUNT} inputs")
    axes.plot(times, median, color=BLUE, lw=1.5, label="median")
    axes.axhline(RELATIVE, color=VERMILION, ls="--", lw=1, label=f"{RELATIVE:g} of its norm")
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_yscale("log")
    axes.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.set(xlabel="iterations t", ylabel="relative distance from the image", xlim=(0, STEPS))
    axes.grid(axis="y", color=GREY, alpha=0.3, lw=0.5)
    tidy(axes)
    key(axes, loc="upper right")
    return figure


FIGURE = Figure(
    "fig9",
    "Figure 9: a network of 29 single-filter layers memorizes a 4x4 image",
    arrays,
    draw,
    rows=rows,
    claims={
        "share of Gaussian inputs within .05 of the image at t = 100": Claim(least=0.95, paper="all"),
        "certified attractors": Claim(least=1, paper="1"),
    },
    caption="Left: a row a Gaussian input (the first ones): the input, shown as z / 4 + 1/2, its iterates (white from "
    "1 on, black from 0 down), and the training image. Right: distance from the training image, relative to its norm, "
    f"of {COUNT} inputs: median, and nearest to farthest.",
    notes=(
        "The paper does not say whether its outputs are those of one application or of many. Ours need several: at "
        "t = 1 the square is there, but has its full brightness for few inputs.",
        "Every parameter starts at 0.1, and nothing else is random: there is one network, and no share of seeds.",
    ),
)
