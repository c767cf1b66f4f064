"""Capacity against n: how many of n training images become attractors of networks of one size."""

from typing import Any

import torch

from memzoo.figures.engine import (
    BLUE,
    COLUMN,
    GREY,
    ORANGE,
    VERMILION,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    report_number,
    stack_arrays,
    tidy,
)
from memzoo.zoo import info, list_models

EPS = 0.5  # largest distance of an attractor from its image, L2
STEPS = 200  # iterations after which a training image counts as reached


def list_checkpoints() -> list[str]:
    """List the ids in the order of the number of training images."""
    return sorted(list_models(figure="capacity"), key=lambda id: len(info(id).examples.positions()))


def measure(material: Material) -> Arrays:
    """Count for each network its training images, those that are attractors, and those reached from test images."""
    networks = []
    for m in material.measure_all():
        n = len(m.examples)
        networks.append(
            {
                "n": torch.tensor(n),
                "attractors": m.certificates(EPS).attractor.sum(),
                "recovered": (m.curve(STEPS, EPS).rate[STEPS] * n).round().long(),
            }
        )
    return {"width": torch.tensor(material.entry().config["width"]), **stack_arrays(networks)}


def draw(arrays: Arrays) -> Any:
    """Draw attractors and recovered images against n, with the diagonal and the bound of the width."""
    figure = create_figure(COLUMN, 2.7)
    axes = figure.subplots()
    n = arrays["n"]
    most = int(n.max())
    bound = int(arrays["width"]) + 1
    axes.plot([0, most], [0, most], color=GREY, lw=0.8, label="all n")
    axes.axvline(bound, color=VERMILION, lw=1, ls="--", label=f"width + 1 = {bound}")
    axes.plot(n, arrays["attractors"], "o-", color=BLUE, ms=4, lw=1.4, label="certified attractors")
    axes.plot(n, arrays["recovered"], "s-", color=ORANGE, ms=4, lw=1.4, label="reached from test images")
    axes.set(xlabel="training images n", ylabel="images", xlim=(0, None), ylim=(-2, None))
    tidy(axes)
    add_legend(axes, loc="upper left")
    return figure


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts of each network, and find where the number of attractors stops to grow.

    Outputs lie in an affine space of as many dimensions as the last layer has inputs, which holds at most width + 1
    images in general position.
    """
    n = arrays["n"]
    found = []
    for index, images in enumerate(n.tolist()):
        found += material.rows(index, lambda fact: fact.step is None, f"{images} images: ")
    whole = arrays["attractors"] == n
    stored = float(n[whole].max()) if whole.any() else 0.0
    found.append(report_number("most images of which every one is an attractor", stored))
    bound = int(arrays["width"]) + 1
    holds = not whole[n > bound].any()
    quantity = f"with more than width + 1 = {bound} images not all are attractors"
    found.append(Row(quantity, "", "yes" if holds else "no", holds))
    return found


FIGURE = Figure(
    "capacity",
    "Capacity: how many of n training images become attractors of a network of 5 layers of 32",
    measure,
    draw,
    checkpoints=list_checkpoints,
    rows=make_rows,
    caption="Networks of one size on the first n MNIST images, as many steps each; in batches of 5, for n = 10 of 2.",
    notes=(
        "The last layer is linear: outputs lie in an affine space of as many dimensions as it has inputs, the width. "
        "More than width + 1 images in general position cannot all be fixed points, however long the training.",
    ),
)
