"""Attractors along training: where each training image's orbit ends, how strongly it is attracted, and from how far."""

import math
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import basin_radius
from memzoo.figures.engine import (
    BLUE,
    GREY,
    VERMILION,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    create_figure,
    report_number,
    stack_arrays,
    tidy,
)

CHECKPOINT = "mnist10-fc5x32"
EPS = 0.5  # largest distance of an attractor from its image, L2
DIRECTIONS = 32  # random points on the sphere around an attractor, all of which must lead back
PANELS = {
    "offset": "distance of the limit\nfrom the image, L2",
    "radius": "spectral radius there",
    "basin": "basin radius, L2",
}
"""Arrays that are drawn, with the labels of their panels."""


def measure(material: Material) -> Arrays:
    """Measure the limit of each training image (columns) after each step (rows).

    Of a limit: its offset from the image, its spectral radius, whether it is an attractor, and the radius of its basin.
    """
    # another checkpoint in the place of the zoo's has steps of its own
    entry = material.model().entry or material.entry()
    steps = [*sorted(entry.steps), None]
    moments = []
    for step in steps:
        m = material.measured(0, step)
        certificates = m.certificates(EPS)
        attractor = certificates.attractor
        moments.append(
            {
                "offset": certificates.offset,
                "radius": certificates.radius,
                "attractor": attractor,
                "basin": _measure_basins(m.model, certificates.points.float(), attractor),
            }
        )
    last = entry.recipe.training.steps
    return {"step": torch.tensor([last if step is None else step for step in steps]), **stack_arrays(moments)}


def _measure_basins(model: torch.nn.Module, points: Tensor, attracts: Tensor) -> Tensor:
    """Measure the radius of a ball around each attractor from which random points all lead back, L2; else NaN."""
    radius = torch.full((len(points),), math.nan, dtype=torch.float64)
    if attracts.any():
        radius[attracts] = basin_radius(model, points[attracts], EPS, directions=DIRECTIONS).radius.double()
    return radius


def draw(arrays: Arrays) -> Any:
    """Draw three panels over the steps, with a line for each image; filled marks are certified attractors."""
    figure = create_figure(WIDTH, 2.5)
    panels = figure.subplots(1, 3)
    for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
        _draw_lines(axes, arrays["step"], arrays[name], arrays["attractor"])
        axes.set(xscale="log", xlabel="optimizer steps", ylabel=label)
        tidy(axes)
    offset, radius, basin = panels
    offset.set_yscale("log")
    offset.axhline(EPS, color="0.4", lw=0.8, ls="--")
    offset.annotate(f"eps = {EPS:g}", (arrays["step"][0], EPS), fontsize=7, color="0.35", va="bottom")
    radius.axhline(1.0, color="0.4", lw=0.8, ls="--")
    basin.set_ylim(bottom=0)
    return figure


def _draw_lines(axes: Any, steps: Tensor, values: Tensor, attractor: Tensor) -> None:
    filled = {"color": BLUE, "mew": 0}
    hollow = {"mfc": "white", "mec": VERMILION, "mew": 0.7}
    for line, own in zip(values.unbind(1), attractor.unbind(1), strict=True):
        axes.plot(steps, line, color=GREY, lw=0.6, zorder=1)
        axes.plot(steps[own], line[own], "o", ms=3, zorder=3, **filled)
        axes.plot(steps[~own], line[~own], "o", ms=3, zorder=2, **hollow)


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts, count the steps at which attractors were lost, and report the basins at the end."""
    name = material.names[0]
    lost = float((arrays["attractor"].sum(1).diff() < 0).sum())
    basin = arrays["basin"][-1].nanmedian().item()
    words = f"median radius of a ball of which {DIRECTIONS} random points lead back, at the end, L2"
    return [
        *material.rows(),
        report_number("steps at which the number of attractors fell", lost, name),
        report_number(words, basin, name),
    ]


FIGURE = Figure(
    "along-training",
    "Attractors along training: each image's limit, its radius and its basin over the steps",
    measure,
    draw,
    checkpoints=lambda: [CHECKPOINT],
    rows=make_rows,
    caption="A line is one of the training images, matched over the steps by the image whose orbit it is. Blue: a "
    "certified attractor. Open: none yet (its orbit does not settle, or its limit is farther than eps, shared with "
    "another image, or not contractive). Middle: no mark where the orbit does not settle. Right, of attractors only: "
    "radius of the largest "
    f"ball that was found of which {DIRECTIONS} random points all lead back; most of its volume then does, not every "
    f"point.",
    notes=("Beyond the paper, which shows two epochs of one network (Figure 6).",),
)
