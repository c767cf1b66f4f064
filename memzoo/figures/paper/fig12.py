"""Figure 12: four usual initialisations; the larger the output before training, the noisier the recall after it."""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine import BLUE, VERMILION, WIDTH, Arrays, Figure, Material, Row, key, tidy
from memzoo.plotting import show_image

SCHEMES = ("xavier-uniform", "xavier-normal", "kaiming-uniform", "kaiming-normal")
NAMES = tuple(scheme.replace("-", " ").capitalize() for scheme in SCHEMES)
SHOWN = 5
TIMES = (1, 100)
COUNT = 30  # test images whose distances are measured, as in the facts
RATIO = 30.0


def checkpoints() -> list[str]:
    """Ids in the order of the paper's panels."""
    return [f"cifar10-d1x32-{scheme}" for scheme in SCHEMES]


def arrays(material: Material) -> Arrays:
    """First test images, of each network their iterates and nearest training images, norms before, distances after."""
    measured = [material.measured(index) for index in range(len(material))]
    starts = measured[0].probes[:SHOWN]
    iterates, found = [], []
    for m in measured:
        orbit = iterate(m.model, starts, TIMES[-1], keep=TIMES)
        iterates.append(torch.stack([orbit.kept[t] for t in TIMES]))
        found.append(m.examples[nearest(orbit.points, m.examples).index])
    facts = [_norm(material, index) for index in range(len(material))]
    return {
        "starts": starts,
        "iterates": torch.stack(iterates),
        "nearest": torch.stack(found),
        "norm": torch.tensor([material.value(index, fact) for index, fact in enumerate(facts)]),
        "paper": torch.tensor([float(fact.paper or torch.nan) for fact in facts]),
        "distance": torch.stack([m.distances("probes", TIMES[-1], COUNT, 0) for m in measured]),
    }


def _norm(material: Material, index: int) -> Any:
    return next(fact for fact in material.entry(index).facts if fact.measure == "initial_output_norm")


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts of each network, and the paper's two statements over all of them."""
    ratio, distance = _ratio(arrays["norm"]), arrays["distance"].quantile(0.5, dim=1)
    noisier = bool(distance[2:].min() > distance[:2].max())
    medians = ", ".join(f"{value:.2f}" for value in distance.tolist())
    return [
        Row(
            "smaller Kaiming over larger Xavier norm before training",
            f"{_ratio(arrays['paper']):.0f}",
            ratio,
            ratio >= RATIO,
            needed=f">= {RATIO:g}",
        ),
        Row(
            f"median distances at t = {TIMES[-1]}, Xavier (2), Kaiming (2): recall noisier under Kaiming",
            "noisier",
            medians,
            noisier,
            needed="both Kaiming above both Xavier",
        ),
        *(row for index, name in enumerate(NAMES) for row in material.rows(index, prefix=f"{name}: ")),
    ]


def _ratio(norm: Tensor) -> float:
    return (norm[2:].min() / norm[:2].max()).item()


def draw(arrays: Arrays) -> Any:
    """Above: recall, a group of columns an initialisation. Below: norms before training, distances after it."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 5.0), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(3.3, 1.7))
    above, below = halves
    panels = above.subfigures(1, 1 + len(NAMES), width_ratios=(1.1, *(3 for _ in NAMES)))
    _fill(panels[0], "", ["start"], [arrays["starts"]])
    for index, name in enumerate(NAMES):
        columns = [*arrays["iterates"][index], arrays["nearest"][index]]
        norm = arrays["norm"][index].item()
        _fill(panels[index + 1], f"{name}\noutput norm {norm:.2g}", [*(f"t = {t}" for t in TIMES), "nearest"], columns)
    left, right = below.subplots(1, 2)
    _draw_norms(left, arrays)
    _draw_distances(right, arrays)
    return figure


def _fill(panel: Any, title: str, headings: list[str], columns: list[Tensor]) -> None:
    panel.suptitle(title or " \n ", fontsize=8)
    grid = panel.subplots(SHOWN, len(columns), squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    for column, (heading, images) in enumerate(zip(headings, columns, strict=True)):
        grid[0, column].set_title(heading, fontsize=7)
        for row, image in enumerate(images):
            show_image(grid[row, column], image)


def _draw_norms(axes: Any, arrays: Arrays) -> None:
    places = range(len(NAMES))
    axes.plot(places, arrays["norm"], "o", ms=5, color=BLUE, label="ours (median of ten)")
    axes.plot(places, arrays["paper"], "D", ms=5, mfc="none", color=VERMILION, label="paper (one draw)")
    axes.axhline(1, color="0.5", lw=0.8, ls="--")
    axes.set(yscale="log", ylabel="output norm before\ntraining, L2", ylim=(3e-3, 60))
    _name_places(axes)
    key(axes, loc="lower right", handletextpad=0.1, borderaxespad=0)


def _draw_distances(axes: Any, arrays: Arrays) -> None:
    for place, values in enumerate(arrays["distance"]):
        spread = torch.linspace(-0.2, 0.2, len(values))
        median = values.quantile(0.5).item()
        axes.plot(place + spread, values, "o", ms=2.5, mew=0, alpha=0.6, color=BLUE)
        axes.plot([place - 0.3, place + 0.3], [median, median], color="0.1", lw=1.5)
    axes.set(ylabel=f"relative distance to\nan image at t = {TIMES[-1]}", ylim=(0, None))
    _name_places(axes)


def _name_places(axes: Any) -> None:
    axes.set_xticks(range(len(NAMES)), [name.replace(" ", "\n") for name in NAMES])
    axes.set_xlim(-0.5, len(NAMES) - 0.5)
    tidy(axes)


FIGURE = Figure(
    "fig12",
    "Figure 12: a large output before training makes for noisy recall",
    arrays,
    draw,
    checkpoints,
    rows,
    caption="Above: the first test images and, for each initialisation, their iterates and the training image nearest "
    "to the last. Below: norm of the output for a training image before training (mean over the images, median over "
    "ten seeds) beside the paper's; distance of 30 test images from the nearest training image after 100 iterations, "
    "relative to its norm, with the medians.",
    notes=(
        "The paper's text refers to its Figure 3a for this network, which is fully connected, but speaks of its "
        "convolutional layers; ours is D1, here with 32 filters.",
        "The norm before training depends on depth and width: ours are larger than the paper's under Xavier and "
        "smaller under Kaiming. Which of uniform and normal is larger depends on the seed.",
        "Only the initial values differ between the four runs, and they end at nearly the same loss.",
    ),
)
