"""Figure 9 of the paper: 29 leaky convolutions of one filter take Gaussian inputs to the one 4x4 image in training."""

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
    add_legend,
    create_figure,
    draw_band,
    fill_with_orbits,
    follow_orbits,
    report_number,
    set_iteration_axis,
    show_noise_as_grey,
    tidy,
)

TIMES = (1, 2, 5, 10, 100)
SHOWN = 5  # Gaussian inputs that are drawn as images
COUNT = 1000  # Gaussian inputs whose distances are measured
STEPS = 100
RELATIVE = 0.05  # distance that counts as arrived, as a share of the norm of the image


def measure(material: Material) -> Arrays:
    """Follow the first inputs, and measure how far all inputs are from the training image at each time."""
    m = material.measured()
    starts = gaussian_noise(COUNT, m.model.config.shape, seed=0)
    times = range(STEPS + 1)
    kept = iterate(m.model, starts, STEPS, keep=times, tol=0.0).kept  # tol=0: no orbit stops early
    near = [nearest(kept[t], m.examples) for t in times]
    norms = m.examples.flatten(1).norm(dim=1).double()
    distances = torch.stack([one.distance / norms[one.index] for one in near])
    levels = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)  # nearest, median and farthest
    return {
        "orbits": follow_orbits(m.model, starts[:SHOWN], m.examples, TIMES),
        "distance": distances.quantile(levels, dim=1),
        "arrived": (distances <= RELATIVE).double().mean(1),
    }


def draw(arrays: Arrays) -> Any:
    """Draw a row for each input, and the distance from the image against time."""
    figure = create_figure(WIDTH, 2.8)
    left, right = figure.subfigures(1, 2, width_ratios=(4.1, 3.1))
    fill_with_orbits(left, show_noise_as_grey(arrays["orbits"]), TIMES)
    axes = right.subplots()
    low, median, high = arrays["distance"]
    times = torch.arange(len(median))
    draw_band(axes, times, low, high, BLUE, label=f"all of {COUNT} inputs")
    axes.plot(times, median, color=BLUE, lw=1.5, label="median")
    axes.axhline(RELATIVE, color=VERMILION, ls="--", lw=1, label=f"{RELATIVE:g} of its norm")
    set_iteration_axis(axes, (0, 1, 10, 100))
    axes.set_yscale("log")
    axes.set(ylabel="relative distance from the image", xlim=(0, STEPS))
    axes.grid(axis="y", color=GREY, alpha=0.3, lw=0.5)
    tidy(axes)
    add_legend(axes, loc="upper right")
    return figure


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts, and the shares that arrive in a single iteration and in ten."""
    found = material.rows()
    for t in (1, 10):
        quantity = f"share of Gaussian inputs within {RELATIVE:g} of the image at t = {t}"
        found.append(report_number(quantity, arrays["arrived"][t].item(), material.names[0]))
    return found


FIGURE = Figure(
    "fig9",
    "Figure 9: a network of 29 single-filter layers memorizes a 4x4 image",
    measure,
    draw,
    rows=make_rows,
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
