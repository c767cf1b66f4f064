"""Figure 4 of the paper: recovery against the number of iterations, for several widths (4a) and depths (4b)."""

from functools import partial
from itertools import groupby, pairwise
from typing import Any

import torch

from memzoo.figures.engine import (
    BLUE,
    GREY,
    MARKS,
    SERIES,
    VERMILION,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    report_number,
    set_iteration_axis,
    stack_arrays,
    tidy,
)
from memzoo.theory import loss_floor
from memzoo.zoo import Entry, info, list_models

STEPS = 200  # iterations of the curves
EPS = 0.5  # if the facts of an entry name no other
TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200)  # of the axis, and times that are marked on the curves
OTHER = {"width": "depth", "depth": "width"}
"""The size of a network beside the one that a figure varies."""


def list_checkpoints(figure: str, varied: str) -> list[str]:
    """List the ids by number of training images and eps, then by what is varied, ``"width"`` or ``"depth"``."""

    def place(id: str) -> tuple[int, float, int, int]:
        entry = info(id)
        images = len(entry.examples.positions())
        return images, find_eps(entry), entry.config[varied], entry.config[OTHER[varied]]

    return sorted(list_models(figure=figure), key=place)


def find_eps(entry: Entry) -> float:
    """Find the eps at which the facts of an entry count recovered images; 0.5 if it has no such fact."""
    return float(next((fact.args["eps"] for fact in entry.facts if fact.name == f"R_{STEPS}"), EPS))


def measure(material: Material) -> Arrays:
    """Measure R_t for t = 0..200 of each network, its training loss, the least possible loss, and images out of reach.

    The probability of recovery R_t is the share of training images to which some start has come within eps at time t.
    """
    networks = []
    for index, m in enumerate(material.measure_all()):
        entry = material.entry(index)
        width = entry.config["width"]
        eps = find_eps(entry)
        curve = m.curve(STEPS, eps)
        loss = (m.outputs - m.examples).double().square().mean()
        # outputs lie in an affine subspace of the dimension of the last hidden layer (Eckart and Young)
        floor = loss_floor(m.examples, width)
        networks.append(
            {
                "recovery": curve.rate,
                "eps": torch.tensor(eps, dtype=torch.float64),
                "images": torch.tensor(len(m.examples)),
                "starts": torch.tensor(len(m.probes)),
                "width": torch.tensor(width),
                "depth": torch.tensor(entry.config["depth"]),
                "loss": loss,
                "floor": torch.tensor(floor, dtype=torch.float64),
                "out_of_reach": curve.unrecoverable.sum(),
            }
        )
    return stack_arrays(networks)


def group_networks(arrays: Arrays) -> list[list[int]]:
    """Group the positions of networks that share the number of training images and eps."""
    # the checkpoints are sorted by both, so that those of a group are neighbours
    kinds = list(zip(arrays["images"].tolist(), arrays["eps"].tolist(), strict=True))
    return [list(group) for _, group in groupby(range(len(kinds)), key=kinds.__getitem__)]


def label_networks(arrays: Arrays, group: list[int], varied: str) -> list[str]:
    """Label each network of a group by what tells it apart: the size that is varied, or both if both differ."""
    other = OTHER[varied]
    labels = [f"{varied} {size}" for size in arrays[varied][group].tolist()]
    others = arrays[other][group]
    if len(others.unique()) > 1:
        return [f"{label}, {other} {size}" for label, size in zip(labels, others.tolist(), strict=True)]
    return labels


def draw(varied: str, arrays: Arrays) -> Any:
    """Draw two panels for each number of training images: recovery against time, and the training loss."""
    groups = group_networks(arrays)
    figure = create_figure(WIDTH, 2.5 * len(groups))
    panels = figure.subplots(len(groups), 2, width_ratios=(1.9, 1), squeeze=False)
    for (left, right), group in zip(panels, groups, strict=True):
        _draw_recovery(left, arrays, group, varied)
        _draw_losses(right, arrays, group, varied)
        images = arrays["images"][group[0]]
        eps = arrays["eps"][group[0]]
        left.set_title(f"{images} training images, eps = {eps:g}")
        tidy(left)
        tidy(right)
    return figure


def _draw_recovery(axes: Any, arrays: Arrays, group: list[int], varied: str) -> None:
    times = range(STEPS + 1)
    last = len(group) - 1
    for place, (index, label) in enumerate(zip(group, label_networks(arrays, group, varied), strict=True)):
        colour = SERIES[place % len(SERIES)]
        mark = {"marker": MARKS[place % len(MARKS)], "markevery": list(TICKS), "mfc": "none", "clip_on": False}
        # the marks of equal curves lie within each other, so that no mark hides another
        size = 3 + 4 * (last - place) / max(1, last)
        axes.plot(times, arrays["recovery"][index], color=colour, lw=1.2, ms=size, label=label, **mark)
    set_iteration_axis(axes, TICKS, linscale=0.5)
    # an orbit ends at one image, so that fewer starts than images cannot recover all images
    starts_per_image = arrays["starts"].double() / arrays["images"]
    most = min(1.0, starts_per_image[group[0]].item())
    if most < 1:
        axes.axhline(most, color=GREY, lw=0.8, ls="--")
        axes.text(STEPS, most, "as many images as starts", ha="right", va="bottom", fontsize=6, color=GREY)
    top = 1.0 if most == 1 else 1.8 * most
    axes.set(xlim=(0, STEPS), ylim=(-0.03 * top, top), ylabel=r"recovery probability $R_t$")
    add_legend(axes, loc="upper left", ncols=2 if len(group) > 5 else 1)


def _draw_losses(axes: Any, arrays: Arrays, group: list[int], varied: str) -> None:
    size, loss, floor = (arrays[name][group] for name in (varied, "loss", "floor"))
    axes.plot(size, loss, "o", ms=4, color=BLUE, label="training loss", zorder=3)
    bounded = floor > 0
    if bounded.any():
        style = {"marker": "_", "ms": 10, "mew": 1.5, "ls": "none", "color": VERMILION}
        axes.plot(size[bounded], floor[bounded], label="least possible", zorder=2, **style)
        for x, low, high in torch.stack([size, floor, loss], 1)[bounded].tolist():
            axes.plot([x, x], [low, high], color=GREY, lw=0.8, zorder=1)
        add_legend(axes, loc="best")
    axes.set(yscale="log", xlabel=f"{varied} of the network", ylabel="training loss", xticks=size.unique().tolist())
    smallest = int(size.min())
    largest = int(size.max())
    margin = 0.15 * max(1, largest - smallest)
    axes.set_xlim(smallest - margin, largest + margin)


def make_rows(varied: str, material: Material, arrays: Arrays) -> list[Row]:
    """List whether recovery rises, the facts of each network, and what the last layer leaves out of reach."""
    found = []
    for group in group_networks(arrays):
        images = arrays["images"][group[0]]
        found += compare_recovery(arrays, group, varied)
        for index, label in zip(group, label_networks(arrays, group, varied), strict=True):
            prefix = f"{images} images, {label}: "
            found += material.rows(index, prefix=prefix)
            found += _report_floor(prefix, arrays, index, material.names[index])
    return found


def compare_recovery(arrays: Arrays, group: list[int], varied: str) -> list[Row]:
    """Compare R_200 of the networks of a group, a row for each value of the size that is not varied.

    The paper claims that recovery rises with width and with depth: here it must never fall and end higher than it
    begins.
    """
    other = OTHER[varied]
    others = arrays[other][group].unique().tolist()
    found = []
    for value in others:
        line = [index for index in group if arrays[other][index] == value]
        rates = arrays["recovery"][line, STEPS].tolist()
        rises = all(a <= b for a, b in pairwise(rates)) and rates[-1] > rates[0]
        sizes = ", ".join(map(str, arrays[varied][line].tolist()))
        where = f", {other} {value}" if len(others) > 1 else ""
        quantity = f"{arrays['images'][group[0]]} images{where}: R_200 rises with {varied} ({varied}s {sizes})"
        ours = ", ".join(f"{rate:.3g}" for rate in rates)
        found.append(Row(quantity, "rises", ours, rises if len(line) > 1 else None, needed="never falls"))
    return found


def _report_floor(prefix: str, arrays: Arrays, index: int, checkpoint: str) -> list[Row]:
    """Report the least possible loss of a network too narrow for its images, and how many images are out of reach."""
    floor = arrays["floor"][index].item()
    if floor == 0:
        return []
    lost = float(arrays["out_of_reach"][index])
    eps = arrays["eps"][index]
    return [
        report_number(f"{prefix}training loss, least possible at this width", floor, checkpoint),
        report_number(f"{prefix}images proven farther than {eps:g} from all outputs", lost, checkpoint),
    ]


NOTES = (
    "The paper trains on 1000 images and gives neither widths, depths nor eps; number of images and eps are over each "
    "panel. R_200 counts the images that the orbits of the held-out test images reach, and not the attractors.",
    "On 1000 images a training of some minutes ends far above a loss of 1e-6 (rows 'training loss'). Limits lie as far "
    "from the images as that says, so eps is 1, still less than the 1.17 between the two images nearest to each other. "
    "Other recipes: see the page on reproduction.",
    "The last layer is affine with as many inputs as the network is wide, so that outputs lie in an affine subspace of "
    "that dimension. A network narrower than the number of images less one has therefore a training loss that no "
    "training can go below (row 'least possible at this width', from the singular values of the centred images), and "
    "images farther than eps from all of its outputs are recovered by no orbit.",
)
CAPTION = (
    "Left: share of the training images that at least one test image is within eps of (L2) after t iterations; the "
    "axis is linear up to 1 and logarithmic beyond. Dashed: as many images as there are starts, of which each ends "
    "at one. Right: training loss of the same networks, and the least possible one at their width where that is not 0."
)


def _create_figure(name: str, varied: str) -> Figure:
    return Figure(
        name,
        f"Figure {name.removeprefix('fig')}: recovery of training images by networks of several {varied}s",
        measure,
        partial(draw, varied),
        partial(list_checkpoints, name, varied),
        partial(make_rows, varied),
        caption=CAPTION,
        notes=NOTES,
    )


FIG4A = _create_figure("fig4a", "width")
FIG4B = _create_figure("fig4b", "depth")
