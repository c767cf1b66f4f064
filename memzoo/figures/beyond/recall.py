"""Beyond the paper: how much noise and how large a mask the recall of training images stands."""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import Recall, recall_against_mask, recall_against_noise
from memzoo.dynamics.memory import level_at
from memzoo.figures.engine import MARKS, SERIES, WIDTH, Arrays, Figure, Material, Row, key, tidy

IDS = ("mnist20-fc14x128", "mnist100-fc7x128")
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
AREAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FILL = 0.0  # black, as the ground of these images is
DRAWS = 16


def arrays(material: Material) -> Arrays:
    """Of each network and kind of damage: levels, recall with its interval, and what looking up recalls."""
    found = {}
    for index in range(len(material)):
        m = material.measured(index)
        eps = _eps(material, index)
        noise = recall_against_noise(m.model, m.examples, NOISE, draws=DRAWS, eps=eps)
        mask = recall_against_mask(m.model, m.examples, AREAS, fill=FILL, draws=DRAWS, eps=eps)
        for kind, recall in (("noise", noise), ("mask", mask)):
            found |= {f"{kind}_{index}_{name}": value for name, value in curves(recall).items()}
    found["count"] = torch.tensor([len(material.measured(index).examples) for index in range(len(material))])
    return found


def _eps(material: Material, index: int) -> float:
    """Of the facts of the entry: that at which its attractors are counted."""
    return next(fact.args["eps"] for fact in material.entry(index).facts if "eps" in fact.args)


def curves(recall: Recall) -> dict[str, Tensor]:
    """What is drawn of a recall curve: levels, share, its interval, confusion with another image, and the look-up."""
    low, high = recall.interval().unbind(1)
    return {
        "level": recall.levels,
        "rate": recall.rate,
        "low": low,
        "high": high,
        "confused": recall.confused,
        "looked_up": recall.input_nearest,
    }


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """How much damage leaves half of the recall, beside what looking up the nearest image stands."""
    found = []
    for index, name in enumerate(material.names):
        count = int(arrays["count"][index])
        damage = (("noise", "noise, standard deviation,"), ("mask", "masked share of the area"))
        intact = arrays[f"noise_{index}_rate"][0].item()
        found.append(Row(f"{count} images: recall without damage", "", intact, intact == 1, name, "1"))
        for kind, words in damage:
            level, rate, looked_up, confused = (
                arrays[f"{kind}_{index}_{part}"] for part in ("level", "rate", "looked_up", "confused")
            )
            where = f"{count} images: {words} up to which at least"
            found += [
                Row(f"{where} 95 % is recalled", "", level_at(level, rate, 0.95), None, name),
                Row(f"{where} half is recalled", "", level_at(level, rate), None, name),
                Row(f"{where} half is found by look-up", "", level_at(level, looked_up), None, name),
                Row(
                    f"{count} images: largest lead of recall over look-up, {kind}",
                    "",
                    _lead(rate, looked_up),
                    None,
                    name,
                ),
                Row(
                    f"{count} images: largest lead of look-up over recall, {kind}",
                    "",
                    _lead(looked_up, rate),
                    None,
                    name,
                ),
            ]
            where = f"{count} images: lost starts that end at another training image, {kind}"
            lost = (1 - rate).sum()
            found.append(Row(where, "", (confused.sum() / lost).item() if lost else torch.nan, None, name))
    return found


def _lead(one: Tensor, other: Tensor) -> float:
    return (one - other).max().clamp(min=0).item()


def draw(arrays: Arrays) -> Any:
    """Two panels: noise and masks."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 2.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    labels = ("standard deviation of the noise (pixels in [0, 1])", "masked share of the area (black)")
    for axes, kind, label in zip(panels, ("noise", "mask"), labels, strict=True):
        for index, count in enumerate(arrays["count"].tolist()):
            of = {part: arrays[f"{kind}_{index}_{part}"] for part in ("level", "rate", "low", "high", "looked_up")}
            draw_curve(axes, of, index, f"{count} images, iterated")
            axes.plot(of["level"], of["looked_up"], "--", lw=1, color=SERIES[index], label=f"{count} images, looked up")
        axes.set(xlabel=label, ylim=(0, 1.03), xlim=(0, None))
        tidy(axes)
    panels[0].set_ylabel("share recalled", fontsize=8)
    key(panels[1], loc="upper right")
    return figure


def draw_curve(axes: Any, of: dict[str, Tensor], index: int, label: str) -> None:
    """Recall against the level, with its interval as a band."""
    axes.fill_between(of["level"], of["low"], of["high"], color=SERIES[index], alpha=0.25, lw=0)
    axes.plot(of["level"], of["rate"], marker=MARKS[index], ms=3, lw=1.2, color=SERIES[index], label=label)


FIGURE = Figure(
    "recall",
    "Recall of training images from noisy and from masked ones",
    arrays,
    draw,
    lambda: list(IDS),
    rows,
    caption="Share of damaged copies of the training images, 16 of each, that iterate back to the image that they came "
    "from; bands are Wilson's 95 % intervals over the copies. Dashed: what looking up the nearest training image of "
    "the damaged copy itself recalls.",
    notes=(
        "An orbit is recalled within 0.5 of its image, L2, the radius at which the entries count attractors.",
        "Noise is not clipped to the range of the pixels. The masks are one block each, of the image's proportions, at "
        "a random place and black; a black image is all that is left at a share of 1.",
    ),
)
