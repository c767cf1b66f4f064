"""Figure 10 of the paper: five leaky convolutions of one filter take Gaussian inputs to one of two images.

The paper claims that no output is a mixture of the two images.
"""

from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import nearest, wilson
from memzoo.figures.engine import (
    BLUE,
    GREY,
    ORANGE,
    SERIES,
    VERMILION,
    WIDTH,
    Arrays,
    Claim,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    fill_with_orbits,
    follow_orbits,
    report_number,
    show_noise_as_grey,
    tidy,
)

FACT = "networks that take 95 % of Gaussian inputs to an image by t = 200"
TIMES = (1, 5, 10, 20, 200)
SHOWN = 5  # Gaussian inputs that are drawn as images
COUNT = 500  # Gaussian inputs of each network
STEPS = 200
RELATIVE = 0.05  # distance that counts as arrived, as a share of the norm of the image
SHARE = 0.95  # of the inputs that a network takes to an image if it recovers


def measure(material: Material) -> Arrays:
    """Measure the share of inputs that end at each image in each network, and follow orbits in one that recovers."""
    m = material.measured()
    ensemble = m.ensemble
    starts = m.starts("noise", COUNT, 0)
    ends = m.ends("noise", STEPS, COUNT, 0)
    members = zip(ends.unbind(1), m.examples.unbind(1), strict=True)
    shares = torch.stack([_count_arrivals(own_ends, images) for own_ends, images in members])
    total = shares.sum(1)
    # the first network that recovers is shown, or the one that comes nearest to it
    recovers = (total >= SHARE).int()
    chosen = int(recovers.argmax() if recovers.any() else total.argmax())
    norms = m.examples.flatten(2).norm(dim=2)
    errors = (m.outputs - m.examples).flatten(2).norm(dim=2) / norms
    network = ensemble.member(chosen)
    return {
        "shares": shares,
        "error": errors.amax(0),
        "chosen": torch.tensor(chosen),
        "orbits": follow_orbits(network, starts[:SHOWN, chosen], m.examples[:, chosen], TIMES),
    }


def _count_arrivals(points: Tensor, examples: Tensor) -> Tensor:
    """Compute the share (n,) of points that are within a relative distance of each example and nearest to it."""
    found = nearest(points, examples)
    norms = examples.flatten(1).norm(dim=1).double()
    there = found.index[found.distance <= RELATIVE * norms[found.index]]
    return torch.bincount(there, minlength=len(examples)).double() / len(points)


def draw(arrays: Arrays) -> Any:
    """Draw a row for each input, and a bar for each network."""
    figure = create_figure(WIDTH, 2.8)
    left, right = figure.subfigures(1, 2, width_ratios=(3.5, 3.7))
    left.suptitle(f"initial value {int(arrays['chosen']) + 1}", fontsize=8)
    fill_with_orbits(left, show_noise_as_grey(arrays["orbits"]), TIMES)
    axes = right.subplots()
    _draw_bars(axes, arrays["shares"])
    tidy(axes)
    add_legend(right, axes, loc="outside upper center", ncols=arrays["shares"].shape[1] + 2)
    return figure


def _draw_bars(axes: Any, shares: Tensor) -> None:
    """Stack for each network the shares of inputs that end at each image, and those that end elsewhere."""
    count = len(shares)
    members = range(1, count + 1)
    colours = (BLUE, ORANGE, *(colour for colour in SERIES if colour not in (BLUE, ORANGE)))
    base = torch.zeros(count, dtype=shares.dtype)
    for index, part in enumerate(shares.unbind(1)):
        axes.bar(members, part, 0.8, base, color=colours[index % len(colours)], label=f"at image {index + 1}")
        base = base + part
    axes.bar(members, 1 - base, 0.8, base, color="none", edgecolor=GREY, lw=0.5, label="elsewhere")
    axes.axhline(SHARE, color=VERMILION, ls="--", lw=1, label=f"{SHARE:.0%}")
    axes.set(xlabel="initial value", ylabel=f"share of inputs at t = {STEPS}", ylim=(0, 1), xlim=(0.3, count + 0.7))
    apart = 5 * max(1, count // 20)
    axes.set_xticks([1, *range(apart, count + 1, apart)])


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the facts, how well all networks fit, and how many take inputs to both images."""
    shares = arrays["shares"]
    to_each = (shares > 0).all(1) & (shares.sum(1) >= SHARE)
    error = arrays["error"].max().item()
    name = material.names[0]
    recovering = wilson(int((shares.sum(1) >= SHARE).sum()), len(shares))
    return [
        *material.rows(),
        report_number(
            "95 % interval of the share of such networks", f"{recovering.low:.2f} to {recovering.high:.2f}", name
        ),
        report_number("such networks that take inputs to each of their images", float(to_each.sum()), name),
        report_number("largest relative error of reproduction, of all networks", error, name),
    ]


FIGURE = Figure(
    "fig10",
    "Figure 10: a five-layer network with skips stores two orthogonal 2x2 images and outputs one or the other",
    measure,
    draw,
    lambda: ["pixels2-conv5x1-half"],
    make_rows,
    claims={FACT: Claim(least=100, paper="all")},
    caption="Left: the network of the first initial value that recovers; a row a Gaussian input (the first ones): the "
    "input, shown as z / 4 + 1/2, its iterates, and the training image nearest to the last. Right: for each of the 100 "
    f"initial values, share of {COUNT} inputs that end within {RELATIVE:g} of an image, relative to its norm; image 1 "
    "has its white pixel in the upper left corner.",
    notes=(
        "The paper shows one network, whose outputs are all single training images, and does not say how often it is "
        "applied. Not every initial value gives such a network: all of them reproduce both images, but the others "
        "send a part or nearly all of the inputs elsewhere, in some networks towards infinity.",
    ),
)
