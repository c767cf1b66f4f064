"""Figure 5b: network D1 with leaky ReLU on ten CIFAR-10 images maps test images and noise to training images."""

from typing import Any

import torch

from memzoo.figures.engine import (
    BLUE,
    MARKS,
    ORANGE,
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
from memzoo.zoo.measures import Kind

TIMES = (1, 2, 5, 10, 100)
FINE = (1, 2, 3, 4, 5, 10, 100)  # times at which distances are measured
IMAGES, NOISE = 4, 2  # rows of the picture
COUNT = 30  # starts of each kind whose distances are measured
FAR = 10.0  # most that is drawn of a relative distance
CLOSE = 0.01  # of the norm of a training image
KINDS: tuple[tuple[Kind, str, str, str], ...] = (
    ("probes", "test images", BLUE, "-"),
    ("noise", "Gaussian inputs", ORANGE, "--"),
)


def arrays(material: Material) -> Arrays:
    """Orbits of the first test images and Gaussian inputs, and how far from a training image all are at each time."""
    m = material.measured()
    starts = torch.cat([m.probes[:IMAGES], m.starts("noise", NOISE, 0)])
    times = (0, *FINE)
    distances = {kind: torch.stack([m.distances(kind, t, COUNT, 0) for t in times]) for kind, *_ in KINDS}
    return {"orbits": orbits(m.model, starts, m.examples, TIMES), "times": torch.tensor(times), **distances}


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts of the final weights, and when most starts have arrived."""
    within = arrays["times"][arrays["probes"].quantile(0.5, dim=1) <= CLOSE]
    first = float(within[0]) if len(within) else "none"
    return [
        *material.rows(choose=lambda fact: fact.step is None),
        Row(
            f"smallest t of {FINE} at which the median of test images is within 1 %", "", first, None, material.names[0]
        ),
    ]


def draw(arrays: Arrays) -> Any:
    """Left: orbits of test images, then of Gaussian inputs. Right: distances and the share that has arrived."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 4.1), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(4.7, 2.5))
    rows = arrays["orbits"].clone()
    rows[IMAGES:, 0] = grey(rows[IMAGES:, 0])
    fill_with_orbits(panels[0], rows, TIMES)
    top, bottom = panels[1].subplots(2, 1, sharex=True)
    draw_distances(top, bottom, arrays)
    return figure


def draw_distances(top: Any, bottom: Any, arrays: Arrays) -> None:
    """Median distance to a training image with the middle 80 % as a band, and the share of starts within 1 %."""
    times = arrays["times"]
    for (kind, label, colour, line), mark in zip(KINDS, MARKS, strict=False):
        low, median, high = arrays[kind].quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), dim=1)
        style = {"marker": mark, "ms": 3, "lw": 1.2, "ls": line, "color": colour, "label": label}
        top.fill_between(times, low, high, color=colour, alpha=0.2, lw=0)
        top.plot(times, median, **style)
        bottom.plot(times, (arrays[kind] <= CLOSE).double().mean(1), **style)
    top.axhline(CLOSE, color="0.5", lw=0.8, ls=":")
    top.set(yscale="log", ylabel="relative distance to the\nnearest training image")
    if top.get_ylim()[1] > FAR:  # orbits that diverge leave the picture
        top.set_ylim(CLOSE / 2, FAR)
    bottom.set(ylim=(-0.03, 1.03), xlabel="iterations t", ylabel="share of starts within\n1 % of a training image")
    bottom.set_xscale("symlog", linthresh=1, linscale=0.4)
    bottom.set_xticks([0, *TIMES], [str(t) for t in (0, *TIMES)])
    bottom.minorticks_off()
    bottom.set_xlim(-0.1, 1.2 * times[-1].item())
    for axes in (top, bottom):
        tidy(axes)
    key(top, loc="best")


CAPTION = (
    "Left, a row a start: the first test images, then the first Gaussian inputs (shown as x / 4 + 1/2), their "
    "iterates, and the training image nearest to the last of these. Right: distance from the nearest training image, "
    "relative to its norm, over 30 starts of each kind (median, band from 10 % to 90 %), and the share within 1 %, the "
    "dotted line; orbits that diverge leave the picture."
)

FIGURE = Figure(
    "fig5b",
    "Figure 5b: a convolutional network maps arbitrary images to its ten training images",
    arrays,
    draw,
    rows=rows,
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
        "What is left at the end is the distance of the attractors from the images themselves, and not of the iterates "
        "from the attractors.",
    ),
)
