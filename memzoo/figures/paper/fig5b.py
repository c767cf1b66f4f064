"""Figure 5b of the paper: D1 with leaky ReLU on ten CIFAR-10 images maps test images and noise to training images."""

from typing import Any

import torch
from torch import Tensor

from memzoo.figures.engine import (
    BLUE,
    GREEN,
    MARKS,
    ORANGE,
    WIDTH,
    Arrays,
    Claim,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    draw_median,
    fill_with_orbits,
    follow_orbits,
    report_number,
    set_iteration_axis,
    show_noise_as_grey,
    tidy,
)
from memzoo.zoo.measures import Kind

TIMES = (1, 2, 5, 10, 100)  # iterations that are drawn as images
FINE = (1, 2, 3, 4, 5, 10, 100)  # times at which distances are measured
IMAGES = 4  # rows of the picture that begin with a test image
NOISE = 2  # rows of the picture that begin with a Gaussian input
COUNT = 30  # starts of each kind whose distances are measured
FAR = 10.0  # largest relative distance that is drawn
CLOSE = 0.01  # of the norm of a training image
KINDS: tuple[tuple[Kind, str, str, str], ...] = (
    ("probes", "test images", BLUE, "-"),
    ("noise", "Gaussian inputs", ORANGE, "--"),
)


SECOND = "bounded"
"""Array of the second network, whose output is a sigmoid: distances of its test images."""


def measure(material: Material) -> Arrays:
    """Follow the first starts of each kind, and measure how far from a training image all are at each time.

    Of a second network, only the distances of test images are measured.
    """
    m = material.measured()
    starts = torch.cat([m.probes[:IMAGES], m.starts("noise", NOISE, 0)])
    times = (0, *FINE)
    found = {"orbits": follow_orbits(m.model, starts, m.examples, TIMES), "times": torch.tensor(times)}
    for kind, *_ in KINDS:
        found[kind] = torch.stack([m.distances(kind, t, COUNT, 0) for t in times])
    if len(material) > 1:
        found[SECOND] = torch.stack([material.measured(1).distances("probes", t, COUNT, 0) for t in times])
    return found


def draw(arrays: Arrays) -> Any:
    """Draw orbits of test images and of Gaussian inputs, and beside them distances and the share that has arrived."""
    figure = create_figure(WIDTH, 4.1)
    left, right = figure.subfigures(1, 2, width_ratios=(4.7, 2.5))
    fill_with_orbits(left, show_noise_as_grey(arrays["orbits"], slice(IMAGES, None)), TIMES)
    top, bottom = right.subplots(2, 1, sharex=True)
    lines = [*KINDS, (SECOND, "test images, sigmoid", GREEN, "-.")] if SECOND in arrays else KINDS
    for (kind, label, colour, line), mark in zip(lines, MARKS, strict=False):
        style = {"color": colour, "ls": line, "marker": mark, "label": label}
        draw_median(top, arrays["times"], arrays[kind], **style)
        share = (arrays[kind] <= CLOSE).double().mean(1)
        bottom.plot(arrays["times"], share, ms=3, lw=1.2, **style)
    top.axhline(CLOSE, color="0.5", lw=0.8, ls=":")
    top.set(yscale="log", ylabel="relative distance to the\nnearest training image")
    if top.get_ylim()[1] > FAR:  # orbits that diverge leave the picture
        top.set_ylim(CLOSE / 2, FAR)
    set_iteration_axis(bottom, (0, *TIMES))
    bottom.set(ylim=(-0.03, 1.03), ylabel="share of starts within\n1 % of a training image")
    bottom.set_xlim(-0.1, 1.2 * FINE[-1])
    tidy(top)
    tidy(bottom)
    add_legend(top, loc="best")
    return figure


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts of the final weights, and the first time at which most test images have arrived."""
    quantity = f"smallest t of {FINE} at which the median of test images is within 1 %"
    rows = []
    for index, (kind, prefix) in enumerate((("probes", ""), (SECOND, "sigmoid output: "))[: len(material)]):
        rows += material.rows(index, choose=lambda fact: fact.step is None, prefix=prefix)
        first = find_arrival(arrays["times"], arrays[kind])
        rows.append(report_number(prefix + quantity, first, material.names[index]))
    return rows


def find_arrival(times: Tensor, distances: Tensor) -> float | str:
    """Find the first time at which the median of distances (times, starts) is within 1 %; "none" if there is none."""
    arrived = times[distances.quantile(0.5, dim=1) <= CLOSE]
    return float(arrived[0]) if len(arrived) else "none"


CAPTION = (
    "Left, a row a start: the first test images, then the first Gaussian inputs (shown as x / 4 + 1/2), their "
    "iterates, and the training image nearest to the last of these. Right: distance from the nearest training image, "
    "relative to its norm, over 30 starts of each kind (median, band from 10 % to 90 %), and the share within 1 %, the "
    "dotted line; orbits that diverge leave the picture. Left and in blue and orange, the output is linear, as in the "
    "paper; in green, it is a sigmoid."
)

FIGURE = Figure(
    "fig5b",
    "Figure 5b: a convolutional network maps arbitrary images to its ten training images",
    measure,
    draw,
    rows=make_rows,
    claims={
        "certified attractors": Claim(least=10, paper="10"),
        "median relative distance of test images from a training image at t = 1": Claim(
            most=CLOSE, paper="a training image"
        ),
        "share of test images within .01 of a training image at t = 100": Claim(least=0.95, paper="arbitrary inputs"),
    },
    caption=CAPTION,
    notes=(
        "The paper's network outputs training images after a single iteration, ours after a few: see the page on "
        "reproduction for the recipes that were tried.",
        "With a sigmoid as the output, test images arrive at t = 3, but standard Gaussians at no image.",
        "What is left at the end is the distance of the attractors from the images themselves, and not of the iterates "
        "from the attractors.",
    ),
)
