"""Figure 12 of the paper: four usual initialisations, and how noisy recall is after training from each.

The paper claims that the larger the output before training is, the noisier the recall after it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import iterate, nearest
from memzoo.figures.engine import (
    BLUE,
    VERMILION,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    stack_arrays,
    tidy,
)
from memzoo.plotting import show_image
from memzoo.zoo import Fact

SCHEMES = ("xavier-uniform", "xavier-normal", "kaiming-uniform", "kaiming-normal")
NAMES = tuple(scheme.replace("-", " ").capitalize() for scheme in SCHEMES)
SHOWN = 5  # test images that are drawn
TIMES = (1, 100)
COUNT = 30  # test images whose distances are measured, as in the facts
RATIO = 30.0
"""Least factor between the norms under Kaiming and under Xavier; the numbers of the paper give 1111."""


def list_checkpoints() -> list[str]:
    """List the ids in the order of the panels of the paper."""
    return [f"cifar10-d1x32-{scheme}" for scheme in SCHEMES]


def measure(material: Material) -> Arrays:
    """Measure for each network the iterates of the first test images, norms before training, and distances after it."""
    measured = material.measure_all()
    starts = measured[0].probes[:SHOWN]
    networks = []
    for index, m in enumerate(measured):
        orbit = iterate(m.model, starts, TIMES[-1], keep=TIMES)
        home = nearest(orbit.points, m.examples).index
        fact = _find_norm(material, index)
        networks.append(
            {
                "iterates": torch.stack([orbit.kept[t] for t in TIMES]),
                "nearest": m.examples[home],
                "norm": torch.tensor(material.value(index, fact)),
                "paper": torch.tensor(float(fact.paper or torch.nan)),
                "distance": m.distances("probes", TIMES[-1], COUNT, 0),
            }
        )
    return {"starts": starts, **stack_arrays(networks)}


def _find_norm(material: Material, index: int) -> Fact:
    """Find the fact about the norm of the output before training."""
    return next(fact for fact in material.entry(index).facts if fact.measure == "initial_output_norm")


def draw(arrays: Arrays) -> Any:
    """Draw above the recall of each initialisation, and below norms before training and distances after it."""
    figure = create_figure(WIDTH, 5.0)
    above, below = figure.subfigures(2, 1, height_ratios=(3.3, 1.7))
    first, *panels = above.subfigures(1, 1 + len(NAMES), width_ratios=(1.1, *(3 for _ in NAMES)))
    _draw_images(first, " \n ", {"start": arrays["starts"]})
    for index, (name, panel) in enumerate(zip(NAMES, panels, strict=True)):
        headings = [*(f"t = {t}" for t in TIMES), "nearest"]
        columns = [*arrays["iterates"][index], arrays["nearest"][index]]
        norm = arrays["norm"][index].item()
        _draw_images(panel, f"{name}\noutput norm {norm:.2g}", dict(zip(headings, columns, strict=True)))
    left, right = below.subplots(1, 2)
    _draw_norms(left, arrays)
    _draw_distances(right, arrays["distance"])
    return figure


def _draw_images(panel: Any, title: str, columns: dict[str, Tensor]) -> None:
    panel.suptitle(title, fontsize=8)
    grid = panel.subplots(SHOWN, len(columns), squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    for column, (heading, images) in zip(grid.T, columns.items(), strict=True):
        column[0].set_title(heading, fontsize=7)
        for axes, image in zip(column, images, strict=True):
            show_image(axes, image)


def _draw_norms(axes: Any, arrays: Arrays) -> None:
    places = range(len(NAMES))
    axes.plot(places, arrays["norm"], "o", ms=5, color=BLUE, label="ours (median of ten)")
    axes.plot(places, arrays["paper"], "D", ms=5, mfc="none", color=VERMILION, label="paper (one draw)")
    axes.axhline(1, color="0.5", lw=0.8, ls="--")
    axes.set(yscale="log", ylabel="output norm before\ntraining, L2", ylim=(3e-3, 60))
    _name_places(axes)
    add_legend(axes, loc="lower right", handletextpad=0.1, borderaxespad=0)


def _draw_distances(axes: Any, distances: Iterable[Tensor]) -> None:
    for place, values in enumerate(distances):
        spread = torch.linspace(-0.2, 0.2, len(values))
        axes.plot(place + spread, values, "o", ms=2.5, mew=0, alpha=0.6, color=BLUE)
        median = values.quantile(0.5).item()
        axes.plot([place - 0.3, place + 0.3], [median, median], color="0.1", lw=1.5)
    axes.set(ylabel=f"relative distance to\nan image at t = {TIMES[-1]}", ylim=(0, None))
    _name_places(axes)


def _name_places(axes: Any) -> None:
    axes.set_xticks(range(len(NAMES)), [name.replace(" ", "\n") for name in NAMES])
    axes.set_xlim(-0.5, len(NAMES) - 0.5)
    tidy(axes)


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """Compare norms and distances with the two statements of the paper, and list the facts of each network."""
    ratio = _compare_norms(arrays["norm"])
    norms = Row(
        "smaller Kaiming over larger Xavier norm before training",
        f"{_compare_norms(arrays['paper']):.0f}",
        ratio,
        ratio >= RATIO,
        needed=f">= {RATIO:g}",
    )
    medians = arrays["distance"].quantile(0.5, dim=1).tolist()
    xavier = medians[:2]
    kaiming = medians[2:]
    distances = Row(
        f"median distances at t = {TIMES[-1]}, Xavier (2), Kaiming (2): recall noisier under Kaiming",
        "noisier",
        ", ".join(f"{value:.2f}" for value in medians),
        min(kaiming) > max(xavier),
        needed="both Kaiming above both Xavier",
    )
    return [norms, distances, *material.name_rows(NAMES)]


def _compare_norms(norm: Tensor) -> float:
    """Divide the smaller norm under Kaiming by the larger one under Xavier."""
    return (norm[2:].min() / norm[:2].max()).item()


FIGURE = Figure(
    "fig12",
    "Figure 12: a large output before training makes for noisy recall",
    measure,
    draw,
    list_checkpoints,
    make_rows,
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
