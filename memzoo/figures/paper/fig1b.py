"""Figure 1b: a U-Net trained on one image maps squares, noise and other images to it."""

from typing import Any, cast

import torch

from memzoo.data import gaussian_noise, white_squares
from memzoo.figures.engine import COLUMN, Arrays, Claim, Figure, Material, Row, fill_with_orbits, grey, orbits
from memzoo.zoo.measures import Kind

TIMES = (1, 2, 5, 10)
SHOWN = 2  # starts of each kind
COUNT, RELATIVE = 50, 0.05
KINDS: dict[Kind, str] = {"squares": "white squares", "noise": "Gaussian inputs", "probes": "CIFAR-10 test images"}
LABELS = ("square", "noise", "image")
ALL = Claim(least=0.95, paper="all")


def arrays(material: Material) -> Arrays:
    """Orbits of the first starts of each kind, and the relative distances of many at each time."""
    m = material.measured()
    shape = cast(tuple[int, int, int], tuple(m.model.config.shape))
    starts = [
        white_squares(SHOWN, shape, seed=0),
        gaussian_noise(SHOWN, shape, seed=0),
        m.probes[:SHOWN],
    ]
    distances = {f"distance_{kind}": torch.stack([m.distances(kind, t, COUNT, 0) for t in TIMES]) for kind in KINDS}
    return {"orbits": orbits(m.model, torch.cat(starts), m.examples, TIMES), **distances}


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts, which are about t = 10, and the same shares after a single iteration."""
    at_once = [
        Row(
            f"share of {words} within {RELATIVE:g} of a training image at t = 1",
            "",
            (arrays[f"distance_{kind}"][0] <= RELATIVE).double().mean().item(),
            None,
            material.names[0],
        )
        for kind, words in KINDS.items()
    ]
    return [*material.rows(), *at_once]


def draw(arrays: Arrays) -> Any:
    """A row a start, two of each kind."""
    import matplotlib.pyplot as plt

    shown = arrays["orbits"].clone()
    noise = slice(SHOWN, 2 * SHOWN)
    shown[noise, 0] = grey(shown[noise, 0])
    columns = shown.shape[1]
    figure = plt.figure(figsize=(COLUMN, COLUMN * len(shown) / columns + 0.1), layout="constrained")
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.015, h_pad=0.015)
    fill_with_orbits(figure, shown, TIMES)
    for row, axes in enumerate(figure.axes[::columns]):
        axes.set_ylabel(LABELS[row // SHOWN], fontsize=7)
    return figure


FIGURE = Figure(
    "fig1b",
    "Figure 1b: a U-Net trained on one CIFAR-10 image maps white squares, noise and other images to it",
    arrays,
    draw,
    rows=rows,
    claims={
        "share of white squares within 0.05 of a training image at t = 10": ALL,
        "share of CIFAR-10 test images within 0.05 of a training image at t = 10": ALL,
        "share of Gaussian inputs within 0.05 of a training image at t = 10": ALL,
    },
    caption="A row a start, the first two of each kind: the start, its iterates, and the training image. Gaussian "
    "inputs are shown as z / 4 + 1/2.",
    notes=(
        "The paper draws its U-Net only as a picture and does not say how often it was applied; ours needs several "
        "applications (see the shares at t = 1). It has skip connections at 8x8 and coarser and a sigmoid output; "
        "with skips at full resolution, or a linear output, nothing was recovered.",
    ),
)
