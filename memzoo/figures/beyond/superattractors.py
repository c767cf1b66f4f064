"""Superattractors: images that arbitrary inputs reach in one iteration, and those of a tanh network that are no images.

A network of tanh units whose biases are zero is odd, so it stores the negative of each image with the image, as a
network of Hopfield (1982) stores the reversed states. Biases that start away from zero break this symmetry.
"""

from typing import Any

import torch
from torch import Tensor, nn

from memzoo.dynamics import census, iterate, nearest
from memzoo.figures.engine import (
    MARKS,
    SERIES,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    normalise,
    report_number,
    set_iteration_axis,
    tidy,
)
from memzoo.plotting import as_images, image_grid
from memzoo.zoo.measures import Kind

IDS = ("mnist20-fc14x128-tanh", "mnist20-fc14x128-tanh-odd", "mnist20-fc14x128")
NAMES = ("tanh, biases from 1", "tanh, biases from 0", "ReLU")
ODD = 1  # network whose further attractors are shown
KINDS: dict[Kind, str] = {
    "probes": "test digits",
    "matched_noise": "Gaussians like the images",
    "noise": "standard Gaussians",
}
TIMES = (1, 2, 3, 5, 10, 20, 50, 200)
REPORTED = (1, 5, 200)
TICKS = (1, 2, 5, 10, 50, 200)
COUNT = 1000  # starts of each kind
EPS = 0.544  # distance from a training image within which a start has arrived, L2: a tenth of the smallest between two
SHOWN = 2  # rows of images
PAIRS = 5  # images in a row, each with the attractor that is its negative


def measure(material: Material) -> Arrays:
    """Measure what has arrived of each kind of start, and find the further attractors of the odd network."""
    shares = [[_measure_arrivals(m, kind) for kind in KINDS] for m in material.measure_all()]
    return {"arrived": torch.tensor(shares, dtype=torch.float64), **_find_further_attractors(material.measured(ODD))}


def _measure_arrivals(m: Any, kind: Kind) -> list[float]:
    """Return the share of starts that are within eps of a training image, at each time."""
    starts = m.starts(kind, COUNT, 0)
    kept = iterate(m.model, starts, TIMES[-1], keep=TIMES).kept
    near = [nearest(kept[t], m.examples).distance < EPS for t in TIMES]
    return [share.double().mean().item() for share in near]


def _find_further_attractors(m: Any) -> Arrays:
    """Find the limits of standard Gaussians that are no training images, and compare them with negatives of these.

    The negative of an image x is 2 b - x, with b the biases of the last layer.
    """
    found = census(m.model, m.starts("noise", COUNT, 0), m.examples, eps=EPS)
    further = [limit for limit in found.limits if limit.kind == "spurious"]
    points = torch.cat([limit.points for limit in further]) if further else m.examples[:0]
    centre = find_last_bias(m.model).reshape(m.examples.shape[1:])
    image = nearest(2 * centre - points, m.examples).index if further else torch.zeros(0, dtype=torch.long)
    cosine = torch.cosine_similarity((points - centre).flatten(1), (m.examples[image] - centre).flatten(1))
    return {
        "points": points,
        "images": m.examples[image],
        "image": image,
        "cosine": cosine,
        "radius": torch.tensor([limit.radius + limit.radius_error for limit in further]),
        "at_an_image": (found.label >= 0).double().mean(),
        "at_another_point": (found.label == -1).double().mean(),
    }


def find_last_bias(model: nn.Module) -> Tensor:
    """Return the biases of the last linear layer, about which a network of odd activations without others is odd."""
    *_, last = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    return last.bias.detach()


def draw(arrays: Arrays) -> Any:
    """Draw the share that has arrived against time for each kind of start, and below images with their negatives."""
    figure = create_figure(WIDTH, 4.2)
    above, below = figure.subfigures(2, 1, height_ratios=(2.3, 1.9))
    panels = above.subplots(1, len(KINDS), sharey=True)
    for place, (axes, kind) in enumerate(zip(panels, KINDS.values(), strict=True)):
        for network, (name, mark, colour) in enumerate(zip(NAMES, MARKS, SERIES, strict=False)):
            shares = arrays["arrived"][network, place]
            axes.plot(TIMES, shares, marker=mark, color=colour, ms=3, lw=1.2, label=name)
        axes.set(title=kind, ylim=(-0.03, 1.03))
        set_iteration_axis(axes, TICKS)
        axes.set_xlim(0.9, TIMES[-1])
        tidy(axes)
    panels[0].set_ylabel("share at a training image", fontsize=8)
    add_legend(panels[0], loc="lower right")
    rows = min(SHOWN, len(arrays["points"]) // PAIRS)
    columns = [
        (title, as_images(normalise(arrays[key][pair * rows : (pair + 1) * rows])))
        for pair in range(PAIRS)
        for title, key in (("training\nimage", "images"), ("further\nattractor", "points"))
    ]
    if rows:
        image_grid(below, columns)
    return figure


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """Report what has arrived of each kind of start, what the further attractors are, and facts of the networks."""
    rows = []
    for network, name in enumerate(NAMES):
        for place, kind in enumerate(KINDS.values()):
            for t in REPORTED:
                share = arrays["arrived"][network, place, TIMES.index(t)].item()
                rows.append(report_number(f"{name}: {kind} at an image by t = {t}", share, material.names[network]))
    odd = material.names[ODD]
    count = len(arrays["image"].unique())
    total = len(material.measured(ODD).examples)
    lowest = arrays["cosine"].max().item() if count else torch.nan
    prefix = f"{NAMES[ODD]}: "
    rows += [
        report_number(f"{prefix}standard Gaussians that end at an image", arrays["at_an_image"].item(), odd),
        report_number(f"{prefix}standard Gaussians that end at another point", arrays["at_another_point"].item(), odd),
        report_number(f"{prefix}further limits of standard Gaussians", float(len(arrays["points"])), odd),
        Row(f"{prefix}images whose negative is one of them", "", float(count), count == total, odd, f">= {total}"),
        Row(f"{prefix}largest cosine of one with its image", "", lowest, lowest <= -0.99, odd, "<= -0.99"),
        report_number(f"{prefix}largest radius of one", arrays["radius"].max().item() if count else torch.nan, odd),
    ]
    # The facts of the first network are the rows of Figure 3b.
    return rows + [row for index in range(1, len(NAMES)) for row in material.rows(index, prefix=f"{NAMES[index]}: ")]


FIGURE = Figure(
    "superattractors",
    "Superattractors: what reaches an image in one iteration, and the negatives that a tanh network stores with them",
    measure,
    draw,
    lambda: list(IDS),
    make_rows,
    caption=f"Above: share of {COUNT} starts of each kind within {EPS:g} (L2) of a training image; the Gaussians in "
    "the middle have the mean and the deviation of the training images' pixels. Below: further attractors at which "
    "standard Gaussians end in the network whose biases start at 0, each beside the training image whose negative it "
    "is; every picture is scaled to reach from black to white.",
    notes=(
        "The paper shows neither the further attractors nor what decides how many starts arrive in one iteration: see "
        "the page on reproduction for both.",
    ),
)
