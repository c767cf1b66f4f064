"""Autoencoders around the backbones of timm: whether modern architectures memorize, too."""

from typing import Any

import torch

from memzoo.data import gaussian_noise
from memzoo.figures.engine import (
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    create_figure,
    fill_with_orbits,
    follow_orbits,
    name_columns,
)

TIMES = (1, 2, 5, 10, 200)


def measure(material: Material) -> Arrays:
    """Follow in each network the orbits of one test image and of one Gaussian input; arrays are named by backbones."""
    found = {}
    for name, m in zip(_list_backbones(material), material.measure_all(), strict=True):
        noise = gaussian_noise(1, m.model.config.shape, mean=0.5, std=0.25, seed=0)
        starts = torch.cat([m.probes[:1], noise])
        found[name] = follow_orbits(m.model, starts, m.examples, TIMES)
    return found


def _list_backbones(material: Material) -> list[str]:
    return [material.entry(index).config["backbone"] for index in range(len(material))]


def draw(arrays: Arrays) -> Any:
    """Draw two rows for each backbone."""
    side = WIDTH / (len(name_columns(TIMES)) + 0.5)
    figure = create_figure(WIDTH, (2 * side + 0.35) * len(arrays))
    panels = figure.subfigures(len(arrays), 1, squeeze=False)[:, 0]
    for panel, (name, orbits) in zip(panels, arrays.items(), strict=True):
        panel.supylabel(name, fontsize=8)
        fill_with_orbits(panel, orbits, TIMES)
    return figure


def make_rows(material: Material, _: Arrays) -> list[Row]:
    """List the facts of each network."""
    return material.name_rows(_list_backbones(material))


FIGURE = Figure(
    "timm",
    "Backbones of timm: four CIFAR-10 images as attractors of modern architectures",
    measure,
    draw,
    rows=make_rows,
    caption="Of each backbone a test image and a Gaussian input, their iterates, and the training image nearest to "
    "the last.",
    notes=("Two of timm's small test models, from random weights, with a light decoder; four training images.",),
)
