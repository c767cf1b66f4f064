"""Recall of damaged images: how much noise and how large a mask the recall of training images stands."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import Recall, recall_against_mask, recall_against_noise
from memzoo.dynamics.memory import level_at
from memzoo.figures.engine import (
    MARKS,
    SERIES,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    draw_band,
    report_number,
    tidy,
)

IDS = ("mnist20-fc14x128", "mnist100-fc7x128")
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
AREAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FILL = 0.0  # black, as the ground of these images is
DRAWS = 16  # damaged copies of each image at each level
DAMAGES = {"noise": "noise, standard deviation,", "mask": "masked share of the area"}
"""Kinds of damage, with the words that name their levels."""


def measure(material: Material) -> Arrays:
    """Measure the recall of each network against each kind of damage."""
    found: Arrays = {}
    counts = []
    for index, m in enumerate(material.measure_all()):
        found |= measure_recall(m.model, m.examples, _find_eps(material, index), index)
        counts.append(len(m.examples))
    return found | {"count": torch.tensor(counts)}


def _find_eps(material: Material, index: int) -> float:
    """Find the eps at which the facts of an entry count attractors."""
    return next(fact.args["eps"] for fact in material.entry(index).facts if "eps" in fact.args)


def measure_recall(memory: Callable[[Tensor], Tensor], examples: Tensor, eps: float, index: int) -> Arrays:
    """Measure recall against both kinds of damage; the array of each part is named ``KIND_INDEX_PART``."""
    noise = recall_against_noise(memory, examples, NOISE, draws=DRAWS, eps=eps)
    mask = recall_against_mask(memory, examples, AREAS, fill=FILL, draws=DRAWS, eps=eps)
    found = {}
    for kind, recall in zip(DAMAGES, (noise, mask), strict=True):
        found |= {f"{kind}_{index}_{part}": values for part, values in list_parts(recall).items()}
    return found


def list_parts(recall: Recall) -> Arrays:
    """List what is drawn of a recall curve.

    The parts are the levels, the share recalled, its interval, the share that ends at another image, and what looking
    up the nearest image recalls.
    """
    low, high = recall.interval().unbind(1)
    return {
        "level": recall.levels,
        "rate": recall.rate,
        "low": low,
        "high": high,
        "confused": recall.confused,
        "looked_up": recall.input_nearest,
    }


def select_curve(arrays: Arrays, kind: str, index: int) -> Arrays:
    """Select the parts of one curve among the arrays of a figure."""
    prefix = f"{kind}_{index}_"
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def draw(arrays: Arrays) -> Any:
    """Draw two panels, one for noise and one for masks."""
    figure = create_figure(WIDTH, 2.5)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_panel(left, arrays, "noise", "standard deviation of the noise (pixels in [0, 1])")
    _draw_panel(right, arrays, "mask", "masked share of the area (black)")
    left.set_ylabel("share recalled", fontsize=8)
    add_legend(right, loc="upper right")
    return figure


def _draw_panel(axes: Any, arrays: Arrays, kind: str, label: str) -> None:
    for index, count in enumerate(arrays["count"].tolist()):
        curve = select_curve(arrays, kind, index)
        draw_curve(axes, curve, index, f"{count} images, iterated")
        draw_look_up(axes, curve, SERIES[index], f"{count} images, looked up")
    axes.set(xlabel=label, ylim=(0, 1.03), xlim=(0, None))
    tidy(axes)


def draw_curve(axes: Any, curve: Arrays, index: int, label: str) -> None:
    """Draw recall against the level, with its interval as a band."""
    colour = SERIES[index]
    draw_band(axes, curve["level"], curve["low"], curve["high"], colour, alpha=0.25)
    style = {"color": colour, "lw": 1.2, "marker": MARKS[index], "ms": 3}
    axes.plot(curve["level"], curve["rate"], label=label, **style)


def draw_look_up(axes: Any, curve: Arrays, colour: str, label: str) -> None:
    """Draw what looking up the image nearest to the damaged copy recalls, without any iteration."""
    axes.plot(curve["level"], curve["looked_up"], "--", lw=1, color=colour, label=label)


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """Report how much damage leaves half of the recall, beside what looking up the nearest image stands."""
    found = []
    for index, name in enumerate(material.names):
        images = f"{int(arrays['count'][index])} images"
        intact = arrays[f"noise_{index}_rate"][0].item()
        found.append(Row(f"{images}: recall without damage", "", intact, intact == 1, name, "1"))
        for kind, words in DAMAGES.items():
            numbers = _compare_with_look_up(select_curve(arrays, kind, index), kind, words)
            found += [report_number(f"{images}: {quantity}", number, name) for quantity, number in numbers.items()]
    return found


def _compare_with_look_up(curve: Arrays, kind: str, words: str) -> dict[str, float]:
    """Compare iterating a damaged copy with looking up the nearest image, each number with its quantity."""
    level, rate, looked_up = (curve[part] for part in ("level", "rate", "looked_up"))
    lost = (1 - rate).sum()
    confused = curve["confused"].sum() / lost if lost else lost.new_tensor(torch.nan)
    return {
        f"{words} up to which at least 95 % is recalled": level_at(level, rate, 0.95),
        f"{words} up to which at least half is recalled": level_at(level, rate),
        f"{words} up to which at least half is found by look-up": level_at(level, looked_up),
        f"largest lead of recall over look-up, {kind}": _measure_lead(rate, looked_up),
        f"largest lead of look-up over recall, {kind}": _measure_lead(looked_up, rate),
        f"lost starts that end at another training image, {kind}": confused.item(),
    }


def _measure_lead(one: Tensor, other: Tensor) -> float:
    """Measure the largest difference by which one share is above another; 0 where it never is."""
    return (one - other).max().clamp(min=0).item()


FIGURE = Figure(
    "recall",
    "Recall of training images from noisy and from masked ones",
    measure,
    draw,
    lambda: list(IDS),
    make_rows,
    caption="Share of damaged copies of the training images, 16 of each, that iterate back to the image that they came "
    "from; bands are Wilson's 95 % intervals over the copies. Dashed: what looking up the nearest training image of "
    "the damaged copy itself recalls.",
    notes=(
        "An orbit is recalled within 0.5 of its image, L2, the radius at which the entries count attractors.",
        "Noise is not clipped to the range of the pixels. The masks are one block each, of the image's proportions, at "
        "a random place and black; a black image is all that is left at a share of 1.",
    ),
)
