"""Capacity against n: how many of n training images become attractors of networks of one size."""

from typing import Any

import torch

from memzoo.figures.engine import BLUE, COLUMN, GREY, ORANGE, VERMILION, Arrays, Figure, Material, Row, key, tidy
from memzoo.zoo import info, list_models

EPS = 0.5


def checkpoints() -> list[str]:
    """In order of the number of training images."""
    return sorted(list_models(figure="capacity"), key=lambda id: len(info(id).examples.positions()))


def arrays(material: Material) -> Arrays:
    """Per network: training images, those that are attractors, those reached from test images by t = 200."""
    measured = [material.measured(index) for index in range(len(material))]
    n = torch.tensor([len(m.examples) for m in measured])
    return {
        "n": n,
        "width": torch.tensor(material.entry().config["width"]),
        "attractors": torch.stack([m.certificates(EPS).attractor.sum() for m in measured]),
        "recovered": torch.stack([(m.curve(200, EPS).rate[200] * len(m.examples)).round().long() for m in measured]),
    }


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts of each network, and where the number of attractors stops to grow."""
    found = []
    for index, n in enumerate(arrays["n"].tolist()):
        found += material.rows(index, lambda fact: fact.step is None, f"{n} images: ")
    count, n, bound = arrays["attractors"], arrays["n"], int(arrays["width"]) + 1
    stored = n[(count == n)].max().item() if (count == n).any() else 0
    beyond = count[n > bound]
    few = bool((beyond < n[n > bound]).all())
    found.append(Row("most images of which every one is an attractor", "", float(stored), None))
    found.append(
        Row(f"with more than width + 1 = {bound} images not all are attractors", "", "yes" if few else "no", few)
    )
    return found


def draw(arrays: Arrays) -> Any:
    """Attractors and recovered images against n, with the diagonal and the bound of the width."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(COLUMN, 2.7), layout="constrained")
    n, bound = arrays["n"], int(arrays["width"]) + 1
    axes.plot([0, int(n.max())], [0, int(n.max())], color=GREY, lw=0.8, label="all n")
    axes.axvline(bound, color=VERMILION, lw=1, ls="--", label=f"width + 1 = {bound}")
    axes.plot(n, arrays["attractors"], "o-", color=BLUE, ms=4, lw=1.4, label="certified attractors")
    axes.plot(n, arrays["recovered"], "s-", color=ORANGE, ms=4, lw=1.4, label="reached from test images")
    axes.set(xlabel="training images n", ylabel="images", xlim=(0, None), ylim=(-2, None))
    tidy(axes)
    key(axes, loc="upper left")
    return figure


FIGURE = Figure(
    "capacity",
    "Capacity: how many of n training images become attractors of a network of 5 layers of 32",
    arrays,
    draw,
    checkpoints=checkpoints,
    rows=rows,
    caption="Networks of one size on the first n MNIST images, as many steps each; in batches of 5, for n = 10 of 2.",
    notes=(
        "The last layer is linear: outputs lie in an affine space of as many dimensions as it has inputs, the width. "
        "More than width + 1 images in general position cannot all be fixed points, however long the training.",
    ),
)
