"""Figure 10: five leaky convolutions of one filter take Gaussian inputs to one of two images, not to mixtures."""

from typing import Any

import torch
from torch import Tensor

from memzoo.data import gaussian_noise
from memzoo.dynamics import iterate, nearest
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
    fill_with_orbits,
    grey,
    orbits,
    tidy,
)

FACT = "networks that take 95 % of Gaussian inputs to an image by t = 200"
TIMES = (1, 5, 10, 20, 200)
SHOWN = 5
COUNT, STEPS, RELATIVE, SHARE = 500, 200, 0.05, 0.95
COLOURS = (BLUE, ORANGE, *(colour for colour in SERIES if colour not in (BLUE, ORANGE)))


def arrays(material: Material) -> Arrays:
    """Share of the inputs that end at each image, a row a network, and orbits in the first one that recovers."""
    m = material.measured()
    ensemble = m.ensemble
    starts = gaussian_noise(COUNT, ensemble.config.shape, seed=0)
    # each network by itself: of a tuple of orbits, none goes on when one has left the range of the arithmetic
    ends = [iterate(member, own, STEPS).points for member, own in zip(ensemble, starts.unbind(1), strict=True)]
    shares = torch.stack([_shares(own, x) for own, x in zip(ends, m.examples.unbind(1), strict=True)])
    total = shares.sum(1)
    gaps = (m.outputs - m.examples).flatten(2).norm(dim=2) / m.examples.flatten(2).norm(dim=2)
    chosen = int((total >= SHARE).int().argmax()) if (total >= SHARE).any() else int(total.argmax())
    return {
        "shares": shares,
        "error": gaps.amax(0),
        "chosen": torch.tensor(chosen),
        "orbits": orbits(ensemble.member(chosen), starts[:SHOWN, chosen], m.examples[:, chosen], TIMES),
    }


def _shares(points: Tensor, examples: Tensor) -> Tensor:
    """Share of the points within a relative distance of each example (n,), the nearest one counts."""
    found = nearest(points, examples)
    norms = examples.flatten(1).norm(dim=1).double()
    there = found.index[found.distance <= RELATIVE * norms[found.index]]
    return torch.bincount(there, minlength=len(examples)).double() / len(points)


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The facts, how well all networks fit, and how many take inputs to both images."""
    shares, name = arrays["shares"], material.names[0]
    both = ((shares.sum(1) >= SHARE) & (shares > 0).all(1)).sum().double().item()
    return [
        *material.rows(),
        Row("such networks that take inputs to each of their images", "", both, None, name),
        Row("largest relative error of reproduction, of all networks", "", arrays["error"].max().item(), None, name),
    ]


def draw(arrays: Arrays) -> Any:
    """A row an input, and a bar a network."""
    import matplotlib.pyplot as plt

    shown = arrays["orbits"].clone()
    shown[:, 0] = grey(shown[:, 0])
    figure = plt.figure(figsize=(WIDTH, 2.8), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(3.5, 3.7))
    left, right = panels
    chosen = int(arrays["chosen"])
    left.suptitle(f"initial value {chosen + 1}", fontsize=8)
    fill_with_orbits(left, shown, TIMES)
    axes = right.subplots()
    shares = arrays["shares"]
    members = torch.arange(1, len(shares) + 1)
    base = torch.zeros(len(shares), dtype=shares.dtype)
    for index, part in enumerate(shares.unbind(1)):
        axes.bar(members, part, 0.8, base, color=COLOURS[index % len(COLOURS)], label=f"at image {index + 1}")
        base = base + part
    axes.bar(members, 1 - base, 0.8, base, color="none", edgecolor=GREY, lw=0.5, label="elsewhere")
    axes.axhline(SHARE, color=VERMILION, ls="--", lw=1, label=f"{SHARE:.0%}")
    axes.set(
        xlabel="initial value", ylabel=f"share of inputs at t = {STEPS}", ylim=(0, 1), xlim=(0.3, len(shares) + 0.7)
    )
    axes.set_xticks([1, *range(5, len(shares) + 1, 5)])
    tidy(axes)
    right.legend(loc="outside upper center", ncols=len(shares.T) + 2, frameon=False, fontsize=7)
    return figure


FIGURE = Figure(
    "fig10",
    "Figure 10: a five-layer network with skips stores two orthogonal 2x2 images and outputs one or the other",
    arrays,
    draw,
    rows=rows,
    claims={FACT: Claim(least=20, paper="all")},
    caption="Left: the network of the first initial value that recovers; a row a Gaussian input (the first ones): the "
    "input, shown as z / 4 + 1/2, its iterates, and the training image nearest to the last. Right: for each of the 20 "
    f"initial values, share of {COUNT} inputs that end within {RELATIVE:g} of an image, relative to its norm; image 1 "
    "has its white pixel in the upper left corner.",
    notes=(
        "The paper shows one network, whose outputs are all single training images, and does not say how often it is "
        "applied. Not every initial value gives such a network: all of them reproduce both images, but the others "
        "send a part or nearly all of the inputs elsewhere, in some networks towards infinity.",
    ),
)
