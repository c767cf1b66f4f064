"""Figure 1b of the paper: a U-Net trained on one image maps squares, noise and other images to this image."""

from typing import Any, cast

import torch

from memzoo.data import gaussian_noise, white_squares
from memzoo.figures.engine import (
    COLUMN,
    Arrays,
    Claim,
    Figure,
    Material,
    Row,
    create_figure,
    fill_with_orbits,
    follow_orbits,
    report_number,
    show_noise_as_grey,
)
from memzoo.zoo.measures import Kind

TIMES = (1, 2, 5, 10)  # iterations that are drawn and measured
SHOWN = 2  # starts of each kind in the picture
COUNT = 50  # starts of each kind whose distances are measured
RELATIVE = 0.05  # distance that counts as arrived, as a share of the norm of the image
KINDS: dict[Kind, str] = {"squares": "white squares", "noise": "Gaussian inputs", "probes": "CIFAR-10 test images"}
LABELS = ("square", "noise", "image")  # of the rows, in the order of the kinds
ALL = Claim(least=0.95, paper="all")  # the paper says that all arrive; 95 % are asked for


def measure(material: Material) -> Arrays:
    """Follow the first starts of each kind, and measure the relative distances of many starts at each time."""
    m = material.measured()
    shape = cast(tuple[int, int, int], tuple(m.model.config.shape))
    squares = white_squares(SHOWN, shape, seed=0)
    noise = gaussian_noise(SHOWN, shape, seed=0)
    starts = torch.cat([squares, noise, m.probes[:SHOWN]])
    found = {"orbits": follow_orbits(m.model, starts, m.examples, TIMES)}
    for kind in KINDS:
        found[f"distance_{kind}"] = torch.stack([m.distances(kind, t, COUNT, 0) for t in TIMES])
    return found


def draw(arrays: Arrays) -> Any:
    """Draw a row for each start, two of each kind."""
    orbits = show_noise_as_grey(arrays["orbits"], slice(SHOWN, 2 * SHOWN))
    count, columns = orbits.shape[:2]
    figure = create_figure(COLUMN, COLUMN * count / columns + 0.1)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015)
    fill_with_orbits(figure, orbits, TIMES)
    for row, axes in enumerate(figure.axes[::columns]):
        axes.set_ylabel(LABELS[row // SHOWN], fontsize=7)
    return figure


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts, which are about t = 10, and the same shares after a single iteration."""
    found = material.rows()
    for kind, words in KINDS.items():
        near = arrays[f"distance_{kind}"][TIMES.index(1)] <= RELATIVE
        quantity = f"share of {words} within {RELATIVE:g} of a training image at t = 1"
        found.append(report_number(quantity, near.double().mean().item(), material.names[0]))
    return found


FIGURE = Figure(
    "fig1b",
    "Figure 1b: a U-Net trained on one CIFAR-10 image maps white squares, noise and other images to it",
    measure,
    draw,
    rows=make_rows,
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
