"""Attractors along training: where each training image's orbit ends, how strongly, and from how far, over the steps."""

import math
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import basin_radius
from memzoo.figures.engine import BLUE, GREY, VERMILION, WIDTH, Arrays, Figure, Material, Row, tidy

CHECKPOINT = "mnist10-fc5x32"
EPS = 0.5
DIRECTIONS = 32


def arrays(material: Material) -> Arrays:
    """Rows are steps, columns training images: offset and radius of their limits, attractor or not, basin radius."""
    entry = material.model().entry or material.entry()
    steps = [*sorted(entry.steps), None]
    found: dict[str, list[Tensor]] = {"offset": [], "radius": [], "attractor": [], "basin": []}
    for step in steps:
        m = material.measured(0, step)
        certificates = m.certificates(EPS)
        found["offset"].append(certificates.offset)
        found["radius"].append(certificates.radius)
        found["attractor"].append(certificates.attractor)
        found["basin"].append(_basins(m.model, certificates.points.float(), certificates.attractor))
    last = entry.recipe.training.steps
    at = torch.tensor([last if step is None else step for step in steps])
    return {"step": at, **{name: torch.stack(rows) for name, rows in found.items()}}


def _basins(model: torch.nn.Module, points: Tensor, attracts: Tensor) -> Tensor:
    """Radius of a ball of which random points all lead back to each attractor, L2; NaN for what is none."""
    radius = torch.full((len(points),), math.nan, dtype=torch.float64)
    if attracts.any():
        radius[attracts] = basin_radius(model, points[attracts], EPS, directions=DIRECTIONS).radius.double()
    return radius


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts, and what the last step has that an earlier one has not."""
    count = arrays["attractor"].sum(1)
    basin = arrays["basin"][-1].nanmedian().item()
    name = material.names[0]
    return [
        *material.rows(),
        Row("steps at which the number of attractors fell", "", float((count.diff() < 0).sum()), None, name),
        Row(
            f"median radius of a ball of which {DIRECTIONS} random points lead back, at the end, L2",
            "",
            basin,
            None,
            name,
        ),
    ]


def draw(arrays: Arrays) -> Any:
    """Three panels over the steps, a line an image; filled marks are certified attractors."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5), layout="constrained")
    steps, attracts = arrays["step"], arrays["attractor"]
    for panel, name, label in zip(
        axes,
        ("offset", "radius", "basin"),
        ("distance of the limit\nfrom the image, L2", "spectral radius there", "basin radius, L2"),
        strict=True,
    ):
        values = arrays[name]
        for image in range(values.shape[1]):
            line, own = values[:, image], attracts[:, image]
            panel.plot(steps, line, color=GREY, lw=0.6, zorder=1)
            panel.plot(steps[own], line[own], "o", ms=3, color=BLUE, mew=0, zorder=3)
            panel.plot(steps[~own], line[~own], "o", ms=3, mfc="white", mec=VERMILION, mew=0.7, zorder=2)
        panel.set(xscale="log", xlabel="optimizer steps", ylabel=label)
        tidy(panel)
    axes[0].set_yscale("log")
    axes[0].axhline(EPS, color="0.4", lw=0.8, ls="--")
    axes[0].annotate(f"eps = {EPS:g}", (steps[0], EPS), fontsize=7, color="0.35", va="bottom")
    axes[1].axhline(1.0, color="0.4", lw=0.8, ls="--")
    axes[2].set_ylim(bottom=0)
    return figure


FIGURE = Figure(
    "along-training",
    "Attractors along training: each image's limit, its radius and its basin over the steps",
    arrays,
    draw,
    checkpoints=lambda: [CHECKPOINT],
    rows=rows,
    caption="A line is one of the training images, matched over the steps by the image whose orbit it is. Blue: a "
    "certified attractor. Open: none yet (its orbit does not settle, or its limit is farther than eps, shared with "
    "another image, or not contractive). Middle: no mark where the orbit does not settle. Right, of attractors only: "
    "radius of the largest "
    f"ball that was found of which {DIRECTIONS} random points all lead back; most of its volume then does, not every "
    f"point.",
    notes=("Beyond the paper, which shows two epochs of one network (Figure 6).",),
)
