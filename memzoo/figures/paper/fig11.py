"""Figure 11 of the paper: a fully connected network on 50,000 MNIST images reconstructs test images.

The picture shows where iteration takes these test images.
"""

from typing import Any

import torch

from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine import (
    BLUE,
    ORANGE,
    VERMILION,
    WIDTH,
    Arrays,
    Claim,
    Figure,
    Material,
    add_legend,
    create_figure,
    draw_median,
    fill_with_orbits,
    follow_orbits,
    tidy,
)

TIMES = (1, 10, 50, 100, 200)  # iterations that are drawn as images
CURVE = (1, 2, 5, 10, 20, 50, 100, 200)  # iterations at which distances are measured
SHOWN = 6  # test images that are drawn
COUNT = 200  # test images whose distances are drawn


def measure(material: Material) -> Arrays:
    """Follow the first test images, and measure how far more of them move and how near they come to training images."""
    m = material.measured()
    starts = m.probes[:COUNT]
    kept = iterate(m.model, starts, CURVE[-1], keep=CURVE).kept
    near = [nearest(kept[t], m.examples) for t in CURVE]
    moves = [(kept[t] - starts).double().flatten(1) for t in CURVE]
    return {
        "orbits": follow_orbits(m.model, starts[:SHOWN], m.examples, TIMES),
        "times": torch.tensor(CURVE),
        "moved": torch.stack(moves).norm(dim=2),
        "distance": torch.stack([found.distance for found in near]),
        "second": torch.stack([found.second for found in near]),
    }


def draw(arrays: Arrays) -> Any:
    """Draw orbits, beside them distances against time, and the two nearest images at the end against each other."""
    figure = create_figure(WIDTH, 4.1)
    left, right = figure.subfigures(1, 2, width_ratios=(4.6, 2.6))
    fill_with_orbits(left, arrays["orbits"], TIMES)
    top, bottom = right.subplots(2, 1)
    _draw_distances(top, arrays)
    _draw_ends(bottom, arrays)
    tidy(top)
    tidy(bottom)
    return figure


def _draw_distances(axes: Any, arrays: Arrays) -> None:
    times = arrays["times"]
    to_image = {"color": BLUE, "ls": "-", "marker": "o", "label": "to the nearest training image"}
    to_start = {"color": ORANGE, "ls": "--", "marker": "s", "label": "to the test image"}
    draw_median(axes, times, arrays["distance"], **to_image)
    draw_median(axes, times, arrays["moved"], **to_start)
    axes.set(xscale="log", xlabel="iterations t", ylabel="distance, L2")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.set_xticks(times, [str(t) for t in times.tolist()])
    axes.minorticks_off()
    add_legend(axes, loc="upper left", borderaxespad=0)


def _draw_ends(axes: Any, arrays: Arrays) -> None:
    second = arrays["second"][-1]
    most = 1.05 * second.max().item()
    # an end is said to belong to an image that is closer than half of the distance to the second nearest
    axes.fill_between([0, most], [0, most / 2], color=VERMILION, alpha=0.15, lw=0)
    axes.annotate("belongs to one image", (0.96 * most, 0.06 * most), ha="right", fontsize=7, color=VERMILION)
    axes.plot(second, arrays["distance"][-1], "o", ms=2.5, mew=0, alpha=0.7, color=BLUE)
    axes.set(xlim=(0, most), ylim=(0, most), xlabel="second nearest training image, L2")
    axes.set_ylabel(f"nearest, at t = {int(arrays['times'][-1])}")


FIGURE = Figure(
    "fig11",
    "Figure 11: near-zero error on the data, and where iteration takes test images",
    measure,
    draw,
    claims={
        "test images, of 1000, whose trajectory ends at an attractor of one training image": Claim(
            least=1, paper="some"
        )
    },
    caption="Left: the first test images, their iterates, and the training image nearest to the last of these. Right: "
    "distance of the iterates of 200 test images from the nearest training image and from the test image itself "
    "(median, band from 10 % to 90 %); at the end, distances from the nearest and from the second nearest training "
    "image, shaded where the nearest is closer than half of the second.",
    notes=(
        "The errors are below the paper's, and no test image ends at an attractor of one training image, while some do "
        "in the paper. A network that reconstructs better is nearer to the identity: iterates stay near the test image "
        "for long, and leave the digits when they move, instead of arriving at a training image.",
        "Of the 50,000 training images, the two nearest to the end of each orbit (t = 200) travel with the checkpoint. "
        "The distances there are therefore exact, and those at earlier times are from the nearest image that travels; "
        "the training error is the recorded one.",
    ),
)
