"""Limit cycles: a network that is trained to take each image of a sequence to the next stores the sequence."""

import math
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine import (
    BLUE,
    MARKS,
    VERMILION,
    WIDTH,
    Arrays,
    Figure,
    Material,
    add_legend,
    create_figure,
    draw_band,
    place_image,
    show_noise_as_grey,
    tidy,
)
from memzoo.plotting import as_images, show_image

EARLY = (1, 2, 5, 10, 20, 50)
ONCE_AROUND = 100  # from here on every point is shown
LONGEST = 11  # most of these points
MEASURED = (*range(10), *range(10, 161, 5))  # times of the distances
SHOWN = 3  # starts of each kind in the picture
NOISE = 1000  # Gaussian starts whose distances are measured
PROBES = 100  # test images whose distances are measured
EPS = 0.5  # largest distance of a point of the cycle from its image, L2
QUANTILES = (0.05, 0.5, 0.95)


def measure(material: Material) -> Arrays:
    """Follow the first starts of each kind, and measure how near all of them come to an image."""
    m = material.measured()
    around = min(len(m.examples) + 1, LONGEST)
    times = (*EARLY, *range(ONCE_AROUND, ONCE_AROUND + around))
    cycle = m.cycle(EPS)
    radius = math.nan if cycle is None else cycle.radius
    found = {
        "examples": m.examples,
        "times": torch.tensor(times),
        "measured": torch.tensor(MEASURED),
        "radius": torch.tensor(radius, dtype=torch.float64),
    }
    norms = m.examples.flatten(1).norm(dim=1).double()
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    starts = {"noise": m.starts("noise", NOISE, 0), "probes": m.starts("probes", PROBES, 0)}
    for kind, points in starts.items():
        kept = iterate(m.model, points, MEASURED[-1], keep={0, *times, *MEASURED}).kept
        near = [nearest(kept[t], m.examples) for t in MEASURED]
        # relative to the norm of the image that is nearest
        distance = torch.stack([one.distance / norms[one.index] for one in near])
        found[f"{kind}_distance"] = distance.quantile(levels, 1).T  # (times, quantiles)
        found[f"{kind}_rows"] = torch.stack([kept[t][:SHOWN] for t in (0, *times)], 1)
    return found


def draw(arrays: Arrays) -> Any:
    """Draw above the ring of images and the distances, and below a row for each start."""
    columns = len(arrays["times"]) + 1
    height = 2 * SHOWN * 0.86 * WIDTH / columns + 0.3
    figure = create_figure(WIDTH, 2.7 + height)
    above, below = figure.subfigures(2, 1, height_ratios=(2.7, height))
    left, right = above.subfigures(1, 2, width_ratios=(2.9, 4.3))
    _draw_ring(left.subplots(), arrays["examples"], arrays["radius"].item())
    _draw_distances(right.subplots(), arrays)
    _draw_orbits(below, arrays)
    return figure


def _draw_ring(axes: Any, examples: Tensor, radius: float) -> None:
    """Draw the training images clockwise in their order, with an arrow from each to the one that follows it."""
    count = len(examples)
    # the first image stands at the top
    angles = [math.pi / 2 - 2 * math.pi * index / count for index in range(count)]
    places = [(math.cos(angle), math.sin(angle)) for angle in angles]
    chord = 2 * math.sin(math.pi / count)
    side = min(28.0, 40 * chord)  # points: neighbours in a long sequence must not overlap
    gap = 0.66 * side
    arrow = {"arrowstyle": "->,head_width=0.2,head_length=0.3", "lw": 0.9, "shrinkA": gap, "shrinkB": gap}
    for here, following in zip(places, places[1:] + places[:1], strict=True):
        axes.annotate("", following, here, arrowprops=arrow)
    for place, image in zip(places, as_images(examples), strict=True):
        place_image(axes, image, place, side, pad=0.05, bboxprops={"linewidth": 0.5, "edgecolor": "0.5"})
    words = f"cycle of {count}\nradius of $f^{{\\,{count}}}$: {radius:.2g}" if math.isfinite(radius) else "no cycle"
    axes.text(0, 0, words, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-1.18, 1.18), ylim=(-1.18, 1.18), aspect="equal")
    axes.set_axis_off()


def _draw_distances(axes: Any, arrays: Arrays) -> None:
    """Draw medians and the middle nine tenths of the distances, and the slope that the radius predicts."""
    steps = arrays["measured"]
    noise = {"color": BLUE, "marker": MARKS[0], "label": f"{NOISE} Gaussian starts"}
    probes = {"color": VERMILION, "marker": MARKS[1], "label": f"{PROBES} test images"}
    for kind, style in (("noise", noise), ("probes", probes)):
        # a zero has no place on a logarithmic axis
        low, median, high = arrays[f"{kind}_distance"].clamp(min=1e-12).unbind(1)
        draw_band(axes, steps, low, high, style["color"])
        axes.semilogy(steps, median, lw=1.3, ms=3.5, markevery=(12, 4), **style)
    _draw_slope(axes, arrays)
    axes.set(xlabel="iterations t", ylabel="relative distance to the\nnearest training image", xlim=(0, MEASURED[-1]))
    tidy(axes)
    add_legend(axes, loc="upper right")


def _draw_slope(axes: Any, arrays: Arrays) -> None:
    """Draw how fast distances fall near the cycle: by the spectral radius of the n-fold composition in n steps."""
    count = len(arrays["examples"])
    radius = arrays["radius"].item()
    if not (math.isfinite(radius) and radius > 0):
        return
    begin = 20
    end = 80
    height = 4 * arrays["noise_distance"][arrays["measured"] == begin, 1].item()  # above the curves
    # one turn of n steps multiplies distances by the radius
    fallen = height * radius ** ((end - begin) / count)
    axes.plot((begin, end), (height, fallen), "--", color="0.2", lw=1, label=f"radius$^{{t/{count}}}$")


def _draw_orbits(figure: Any, arrays: Arrays) -> None:
    """Draw a row for each start: the start, early iterates, then every iterate once around."""
    times = arrays["times"].tolist()
    orbits = [*show_noise_as_grey(arrays["noise_rows"]), *arrays["probes_rows"]]
    grid = figure.subplots(len(orbits), len(times) + 1, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    first, *others = times
    for axes, heading in zip(grid[0], ["start", f"t = {first}", *others], strict=True):
        axes.set_title(heading, fontsize=7, pad=3)
    for row, orbit in zip(grid, orbits, strict=True):
        for axes, image in zip(row, as_images(orbit), strict=True):
            show_image(axes, image)


FIGURE = Figure(
    "cycles",
    "A sequence of training images stored as a limit cycle",
    measure,
    draw,
    caption="Left: the training images in the order of training, each is mapped to the next. Right: relative distance "
    "to the nearest training image, medians and the middle nine tenths of the starts; dashed: the slope that the "
    "spectral radius of the n-fold composition predicts; near 1e-7 the precision of the arithmetic ends it. Below: the "
    "first three Gaussian starts (shown divided by four, around grey) and the first three test images, early iterates, "
    "then every iterate once around the cycle.",
    notes=(
        "Not in the paper, whose networks reproduce each image: Radhakrishnan, Belkin and Uhler (Overparameterized "
        "Neural Networks Implement Associative Memory, 2020) train a network to take each image of a sequence to the "
        "next, and find a limit cycle.",
        "A start runs through the cycle where, for once around, each point is within .05 of its image's norm from it "
        "and the next point is at the next image.",
    ),
)
