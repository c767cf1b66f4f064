"""Autoencoders around timm's backbones: do modern architectures memorize, too?"""

from typing import Any

import torch

from memzoo.data import gaussian_noise
from memzoo.figures.engine import WIDTH, Arrays, Figure, Material, Row, headings, orbits
from memzoo.plotting import image_grid

TIMES = (1, 2, 5, 10, 200)


def arrays(material: Material) -> Arrays:
    """Of each backbone the orbits of one test image and one Gaussian input."""
    found = {}
    for index in range(len(material)):
        m = material.measured(index)
        noise = gaussian_noise(1, m.model.config.shape, mean=0.5, std=0.25, seed=0)
        starts = torch.cat([m.probes[:1], noise])
        found[_backbone(material, index)] = orbits(m.model, starts, m.examples, TIMES)
    return found


def _backbone(material: Material, index: int) -> str:
    return material.entry(index).config["backbone"]


def rows(material: Material, _: Arrays) -> list[Row]:
    """The facts of each."""
    return [
        row for index in range(len(material)) for row in material.rows(index, prefix=f"{_backbone(material, index)}: ")
    ]


def draw(arrays: Arrays) -> Any:
    """Two rows a backbone."""
    import matplotlib.pyplot as plt

    side = WIDTH / (len(headings(TIMES)) + 0.5)
    figure = plt.figure(figsize=(WIDTH, (2 * side + 0.35) * len(arrays)), layout="constrained")
    panels: Any = figure.subfigures(len(arrays), 1, squeeze=False)[:, 0]
    for panel, (name, found) in zip(panels, arrays.items(), strict=True):
        panel.supylabel(name, fontsize=8)
        image_grid(panel, list(zip(headings(TIMES), found.unbind(1), strict=True)))
    return figure


FIGURE = Figure(
    "timm",
    "Backbones of timm: four CIFAR-10 images as attractors of modern architectures",
    arrays,
    draw,
    rows=rows,
    caption="Of each backbone a test image and a Gaussian input, their iterates, and the training image nearest to "
    "the last.",
    notes=("Two of timm's small test models, from random weights, with a light decoder; four training images.",),
)
