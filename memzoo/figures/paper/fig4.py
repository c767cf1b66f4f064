"""Figure 4: recovery against the number of iterations, of fully connected networks of several widths and depths."""

from functools import partial
from itertools import groupby, pairwise
from typing import Any

import torch

from memzoo.figures.engine import BLUE, GREY, MARKS, SERIES, VERMILION, WIDTH, Arrays, Figure, Material, Row, key, tidy
from memzoo.theory import loss_floor
from memzoo.zoo import Entry, info, list_models

STEPS, EPS = 200, 0.5
TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200)


def checkpoints(figure: str, varied: str) -> list[str]:
    """Ids by number of training images and eps, then by what is varied, ``"width"`` or ``"depth"``."""

    def place(id: str) -> tuple[int, float, int, int]:
        entry = info(id)
        other = "depth" if varied == "width" else "width"
        return len(entry.examples.positions()), radius(entry), entry.config[varied], entry.config[other]

    return sorted(list_models(figure=figure), key=place)


def radius(entry: Entry) -> float:
    """The eps of its recovery probability, as its facts have it, else 0.5."""
    return float(next((fact.args["eps"] for fact in entry.facts if fact.name == f"R_{STEPS}"), EPS))


def arrays(material: Material) -> Arrays:
    """Of each network: R_t for t = 0..200, its size, training loss, the least possible one, images out of reach."""
    measured = [material.measured(index) for index in range(len(material))]
    configs = [material.entry(index).config for index in range(len(material))]
    eps = [radius(material.entry(index)) for index in range(len(material))]
    curves = [m.curve(STEPS, within) for m, within in zip(measured, eps, strict=True)]
    losses = [(m.outputs - m.examples).double().square().mean() for m in measured]
    floors = [loss_floor(m.examples, config["width"]) for m, config in zip(measured, configs, strict=True)]
    return {
        "recovery": torch.stack([curve.rate for curve in curves]),
        "eps": torch.tensor(eps, dtype=torch.float64),
        "images": torch.tensor([len(m.examples) for m in measured]),
        "starts": torch.tensor([len(m.probes) for m in measured]),
        "width": torch.tensor([config["width"] for config in configs]),
        "depth": torch.tensor([config["depth"] for config in configs]),
        "loss": torch.stack(losses),
        "floor": torch.tensor(floors, dtype=torch.float64),
        "out_of_reach": torch.stack([curve.unrecoverable.sum() for curve in curves]),
    }


def groups(arrays: Arrays) -> list[list[int]]:
    """Positions of the networks, those of one number of training images and one eps together."""
    kinds = list(zip(arrays["images"].tolist(), arrays["eps"].tolist(), strict=True))
    return [list(group) for _, group in groupby(range(len(kinds)), key=kinds.__getitem__)]


def labels(arrays: Arrays, group: list[int], varied: str) -> list[str]:
    """What tells the networks of a group apart: width, or depth, or both where both differ."""
    other = "depth" if varied == "width" else "width"
    both = len(arrays[other][group].unique()) > 1
    return [
        f"{varied} {int(arrays[varied][index])}" + (f", {other} {int(arrays[other][index])}" if both else "")
        for index in group
    ]


def rows(varied: str, material: Material, arrays: Arrays) -> list[Row]:
    """Whether recovery rises, then the facts of each network, and what its last layer leaves out of its reach."""
    found = []
    for group in groups(arrays):
        count = int(arrays["images"][group[0]])
        found += rising(arrays, group, varied)
        for index, label in zip(group, labels(arrays, group, varied), strict=True):
            name, prefix = material.names[index], f"{count} images, {label}: "
            found += material.rows(index, prefix=prefix)
            floor, lost = arrays["floor"][index].item(), float(arrays["out_of_reach"][index])
            eps = f"{arrays['eps'][index].item():g}"
            if floor > 0:
                found += [
                    Row(f"{prefix}training loss, least possible at this width", "", floor, None, name),
                    Row(f"{prefix}images farther than {eps} from all outputs", "", lost, None, name),
                ]
    return found


def rising(arrays: Arrays, group: list[int], varied: str) -> list[Row]:
    """R_200 in order, a row a value of the other size: it rises if it never falls and ends higher than it begins."""
    other, found = "depth" if varied == "width" else "width", []
    several = len(arrays[other][group].unique()) > 1
    for value in arrays[other][group].unique().tolist():
        line = [index for index in group if arrays[other][index] == value]
        rates = arrays["recovery"][line, STEPS].tolist()
        holds = None if len(line) < 2 else all(a <= b for a, b in pairwise(rates)) and rates[-1] > rates[0]
        sizes = f"{varied}s {', '.join(str(int(size)) for size in arrays[varied][line])}"
        where = f"{int(arrays['images'][group[0]])} images{f', {other} {value}' if several else ''}"
        ours = ", ".join(f"{rate:.3g}" for rate in rates)
        found.append(Row(f"{where}: R_200 rises with {varied} ({sizes})", "rises", ours, holds, needed="never falls"))
    return found


def draw(varied: str, arrays: Arrays) -> Any:
    """A line of panels for each number of training images: recovery against time, and the training loss."""
    import matplotlib.pyplot as plt

    parts = groups(arrays)
    figure, panels = plt.subplots(
        len(parts), 2, figsize=(WIDTH, 2.5 * len(parts)), width_ratios=(1.9, 1), squeeze=False, layout="constrained"
    )
    for (left, right), group in zip(panels, parts, strict=True):
        _draw_recovery(left, arrays, group, varied)
        _draw_losses(right, arrays, group, varied)
        count, eps = int(arrays["images"][group[0]]), arrays["eps"][group[0]].item()
        left.set_title(f"{count} training images, eps = {eps:g}")
        tidy(left)
        tidy(right)
    return figure


def _draw_recovery(axes: Any, arrays: Arrays, group: list[int], varied: str) -> None:
    for place, (index, label) in enumerate(zip(group, labels(arrays, group, varied), strict=True)):
        style = {"color": SERIES[place % len(SERIES)], "marker": MARKS[place % len(MARKS)], "lw": 1.2}
        # marks of equal curves lie within each other, so that none hides another
        style |= {"ms": 3 + 4 * (len(group) - 1 - place) / max(1, len(group) - 1), "mfc": "none", "clip_on": False}
        axes.plot(range(STEPS + 1), arrays["recovery"][index], markevery=list(TICKS), label=label, **style)
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set_xticks(TICKS, [str(t) for t in TICKS])
    axes.minorticks_off()
    most = min(1.0, arrays["starts"][group[0]].item() / arrays["images"][group[0]].item())
    if most < 1:  # a start ends at one image
        axes.axhline(most, color=GREY, lw=0.8, ls="--")
        axes.text(STEPS, most, "as many images as starts", ha="right", va="bottom", fontsize=6, color=GREY)
    top = 1.0 if most == 1 else 1.8 * most
    axes.set(xlim=(0, STEPS), ylim=(-0.03 * top, top), xlabel="iterations t", ylabel=r"recovery probability $R_t$")
    key(axes, loc="upper left", ncols=2 if len(group) > 5 else 1)


def _draw_losses(axes: Any, arrays: Arrays, group: list[int], varied: str) -> None:
    size, loss, floor = (arrays[name][group] for name in (varied, "loss", "floor"))
    axes.plot(size, loss, "o", ms=4, color=BLUE, label="training loss", zorder=3)
    bounded = floor > 0
    if bounded.any():
        style = {"color": VERMILION, "marker": "_", "ms": 10, "mew": 1.5, "ls": "none"}
        axes.plot(size[bounded], floor[bounded], label="least possible", zorder=2, **style)
        lines = (part[bounded].tolist() for part in (size, floor, loss))
        for x, low, high in zip(*lines, strict=True):
            axes.plot([x, x], [low, high], color=GREY, lw=0.8, zorder=1)
    axes.set(yscale="log", xlabel=f"{varied} of the network", ylabel="training loss", xticks=size.unique().tolist())
    margin = 0.15 * max(1, int(size.max() - size.min()))
    axes.set_xlim(int(size.min()) - margin, int(size.max()) + margin)
    if bounded.any():
        key(axes, loc="best")


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


def _figure(name: str, varied: str) -> Figure:
    return Figure(
        name,
        f"Figure {name.removeprefix('fig')}: recovery of training images by networks of several {varied}s",
        arrays,
        partial(draw, varied),
        partial(checkpoints, name, varied),
        partial(rows, varied),
        caption=CAPTION,
        notes=NOTES,
    )


FIG4A = _figure("fig4a", "width")
FIG4B = _figure("fig4b", "depth")
