"""Beyond the paper: a sequence of training images, stored as a limit cycle."""

import math
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine import BLUE, MARKS, VERMILION, WIDTH, Arrays, Figure, Material, grey, key, tidy
from memzoo.plotting import as_images, show_image

EARLY = (1, 2, 5, 10, 20, 50)
ONCE_AROUND = 100  # from here on every point is shown
LONGEST = 11  # of these
MEASURED = (*range(10), *range(10, 161, 5))  # times of the distances
SHOWN = 3  # starts of each kind
NOISE, PROBES = 1000, 100
EPS = 0.5
QUANTILES = (0.05, 0.5, 0.95)


def arrays(material: Material) -> Arrays:
    """The images in order, the iterates of the first starts of each kind, and how all of them come near an image."""
    m = material.measured()
    times = (*EARLY, *range(ONCE_AROUND, ONCE_AROUND + min(len(m.examples) + 1, LONGEST)))
    starts = {"noise": m.starts("noise", NOISE, 0), "probes": m.starts("probes", PROBES, 0)}
    norms = m.examples.flatten(1).norm(dim=1).double()
    found = {
        "examples": m.examples,
        "times": torch.tensor(times),
        "measured": torch.tensor(MEASURED),
        "radius": torch.tensor(_radius(material), dtype=torch.float64),
    }
    for kind, points in starts.items():
        kept = iterate(m.model, points, MEASURED[-1], keep={0, *times, *MEASURED}).kept
        near = [nearest(kept[t], m.examples) for t in MEASURED]
        distance = torch.stack([one.distance / norms[one.index] for one in near])
        levels = torch.tensor(QUANTILES, dtype=torch.float64)
        found[f"{kind}_distance"] = distance.quantile(levels, 1).T  # (times, quantiles)
        found[f"{kind}_rows"] = torch.stack([kept[t][:SHOWN] for t in (0, *times)], 1)
    return found


def _radius(material: Material) -> float:
    """Of the certified cycle; NaN where there is none."""
    cycle = material.measured().cycle(EPS)
    return math.nan if cycle is None else cycle.radius


def draw(arrays: Arrays) -> Any:
    """Above the ring of images and the distances, below a row a start."""
    import matplotlib.pyplot as plt

    columns = len(arrays["times"]) + 1
    grid = 2 * SHOWN * 0.86 * WIDTH / columns + 0.3
    figure = plt.figure(figsize=(WIDTH, 2.7 + grid), layout="constrained")
    panels: Any = figure.subfigures(2, 1, height_ratios=(2.7, grid))
    above, below = panels
    left, right = above.subfigures(1, 2, width_ratios=(2.9, 4.3))
    draw_ring(left.subplots(), arrays["examples"], arrays["radius"].item())
    draw_distances(right.subplots(), arrays)
    draw_rows(below, arrays)
    return figure


def draw_ring(axes: Any, examples: Tensor, radius: float) -> None:
    """The training images clockwise in their order, an arrow from each to the one that it is trained on."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    count = len(examples)
    angles = [math.pi / 2 - 2 * math.pi * index / count for index in range(count)]
    places = [(math.cos(angle), math.sin(angle)) for angle in angles]
    apart = 2 * math.sin(math.pi / count)
    side = min(28.0, 40 * apart)  # points
    gap = 0.66 * side
    for (x, y), (u, v) in zip(places, places[1:] + places[:1], strict=True):
        axes.annotate(
            "",
            (u, v),
            (x, y),
            arrowprops={"arrowstyle": "->,head_width=0.2,head_length=0.3", "lw": 0.9, "shrinkA": gap, "shrinkB": gap},
        )
    for place, image in zip(places, as_images(examples), strict=True):
        pixels = image.clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy(force=True)
        shown = OffsetImage(pixels, zoom=side / max(image.shape[1:]), cmap="gray", interpolation="nearest")
        axes.add_artist(AnnotationBbox(shown, place, pad=0.05, bboxprops={"linewidth": 0.5, "edgecolor": "0.5"}))
    words = f"cycle of {count}\nradius of $f^{{\\,{count}}}$: {radius:.2g}" if math.isfinite(radius) else "no cycle"
    axes.text(0, 0, words, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-1.18, 1.18), ylim=(-1.18, 1.18), aspect="equal")
    axes.set_axis_off()


def draw_distances(axes: Any, arrays: Arrays) -> None:
    """Medians and the middle nine tenths, and the slope that the radius predicts."""
    steps = arrays["measured"]
    for kind, words, colour, mark in (
        ("noise", f"{NOISE} Gaussian starts", BLUE, MARKS[0]),
        ("probes", f"{PROBES} test images", VERMILION, MARKS[1]),
    ):
        low, median, high = arrays[f"{kind}_distance"].clamp(min=1e-12).unbind(1)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
        axes.semilogy(steps, median, color=colour, lw=1.3, marker=mark, ms=3.5, markevery=(12, 4), label=words)
    count, radius = len(arrays["examples"]), arrays["radius"].item()
    if math.isfinite(radius) and radius > 0:
        begin, end = 20, 80
        from_there = arrays["noise_distance"][steps == begin, 1].item() * 4  # above the curves
        falling = [from_there * radius ** ((t - begin) / count) for t in (begin, end)]
        axes.plot((begin, end), falling, "--", color="0.2", lw=1, label=f"radius$^{{t/{count}}}$")
    axes.set(xlabel="iterations t", ylabel="relative distance to the\nnearest training image", xlim=(0, MEASURED[-1]))
    tidy(axes)
    key(axes, loc="upper right")


def draw_rows(figure: Any, arrays: Arrays) -> None:
    """A row a start: itself, early iterates, then every one once around."""
    times = arrays["times"].tolist()
    rows = [("noise", row) for row in arrays["noise_rows"]] + [("probes", row) for row in arrays["probes_rows"]]
    grid = figure.subplots(len(rows), len(times) + 1, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for column, heading in enumerate(["start", *map(str, times)]):
        grid[0, column].set_title(heading, fontsize=7, pad=3)
    grid[0, 1].set_title(f"t = {times[0]}", fontsize=7, pad=3)
    for place, (kind, row) in enumerate(rows):
        for column, image in enumerate(as_images(row)):
            noise = kind == "noise" and column == 0
            show_image(grid[place, column], grey(image) if noise else image)


FIGURE = Figure(
    "cycles",
    "A sequence of training images stored as a limit cycle",
    arrays,
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
