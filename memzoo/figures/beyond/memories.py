"""Beyond the paper: the same images in a trained network and in classical associative memories, measured alike."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import (
    Certificates,
    RecoveryCurve,
    certify,
    default_eps,
    dense_associative_memory,
    hopfield,
    polynomial_memory,
    recall_against_mask,
    recall_against_noise,
    recovery_curve,
)
from memzoo.dynamics.memory import level_at
from memzoo.figures.beyond.recall import AREAS, DRAWS, FILL, NOISE, curves, draw_curve
from memzoo.figures.engine import BLACK, GREY, SERIES, WIDTH, Arrays, Figure, Material, Row, tidy
from memzoo.plotting import as_images

BINARY = 0.5  # pixels above are 1, the others 0
DEGREE = 30
BETA = 0.25  # for pixels in [-1, 1]
STEPS = 200
NAMES = ("trained network", "Hopfield, Hebb's rule", f"polynomial, degree {DEGREE}", f"softmax, beta = {BETA:g}")
GREYS = (0, 3)
"""The memories that store the images with their grey values; the others store binary ones."""

NONE = torch.tensor(torch.nan, dtype=torch.float64)

Memory = Callable[[Tensor], Tensor]


def memories(network: Memory, examples: Tensor) -> list[tuple[Memory, Tensor]]:
    """Each memory as a map of images with pixels in [0, 1], and the images that it stores."""
    binary = (examples > BINARY).to(examples)
    return [
        (network, examples),
        (_of_pixels(hopfield(_signed(binary))), binary),
        (_of_pixels(polynomial_memory(_signed(binary), DEGREE)), binary),
        (_of_pixels(dense_associative_memory(_signed(examples), BETA)), examples),
    ]


def _signed(pixels: Tensor) -> Tensor:
    """[0, 1] as [-1, 1]."""
    return 2 * pixels - 1


def _of_pixels(memory: Memory) -> Memory:
    """A memory of values in [-1, 1] as a map of pixels in [0, 1]: the same dynamics in other units."""
    return lambda x: (memory(_signed(x)) + 1) / 2


def arrays(material: Material) -> Arrays:
    """Of each memory: recall against noise and masks, attractors, radii, R_200, and the limit of the first image."""
    m = material.measured()
    found: Arrays = {}
    certificates: list[Certificates] = []
    recoveries: list[RecoveryCurve] = []
    for index, (memory, stored) in enumerate(memories(m.model, m.examples)):
        eps = default_eps(stored)
        noise = recall_against_noise(memory, stored, NOISE, draws=DRAWS, eps=eps)
        mask = recall_against_mask(memory, stored, AREAS, fill=FILL, draws=DRAWS, eps=eps)
        for kind, recall in (("noise", noise), ("mask", mask)):
            found |= {f"{kind}_{index}_{name}": value for name, value in curves(recall).items()}
        certificates.append(m.certificates(eps) if index == 0 else certify(memory, stored, eps=eps))
        recoveries.append(
            m.curve(STEPS, eps) if index == 0 else recovery_curve(memory, m.probes, stored, STEPS, eps, tol=None)
        )
    majority = (m.examples > BINARY).double().mean(0) > 0.5
    signed = _signed(m.examples.flatten(1).double())
    products = signed @ signed.T
    others = products.clone().fill_diagonal_(-torch.inf).amax(1)
    return found | {
        "count": torch.tensor(len(m.examples)),
        "eps": torch.tensor([one.eps for one in certificates], dtype=torch.float64),
        "attractors": torch.stack([one.attractor.sum() for one in certificates]),
        "limits": torch.tensor([len(one.limit_of.unique()) for one in certificates]),
        "offset": torch.stack([one.offset.quantile(0.5) for one in certificates]),
        "radius": torch.stack(
            [one.radius[one.attractor].max() if one.attractor.any() else NONE for one in certificates]
        ),
        "recovery": torch.stack([one.rate[STEPS] for one in recoveries]),
        "arrived": torch.stack([one.arrived[STEPS] for one in recoveries]),
        "arrived_at_once": torch.stack([one.arrived[1] for one in recoveries]),
        "first": m.examples[:1],
        "ends": torch.stack([one.points[0] for one in certificates]),
        "majority": ((certificates[1].points[0] > BINARY) == majority).double().mean(),
        "gap": (products.diagonal() - others).min(),
    }


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """The same numbers for each memory."""
    count, checkpoint, found = int(arrays["count"]), material.names[0], []
    for index, name in enumerate(NAMES):
        row = partial(_row, name, checkpoint)
        attractors, rate = arrays["attractors"][index].item(), arrays["recovery"][index].item()
        trained = index == 0
        found += [
            row("certified attractors", attractors, attractors == count if trained else None, "all", f"{count}"),
            row(f"R_{STEPS} from the held-out starts", rate, rate == 1 if trained else None, "all", "1"),
            row(f"starts at a stored image by t = {STEPS}", arrays["arrived"][index].item()),
            row("starts at a stored image by t = 1", arrays["arrived_at_once"][index].item()),
            row("distinct limits of the stored images", arrays["limits"][index].item()),
            row("median distance of a stored image from its limit, L2", arrays["offset"][index].item()),
            row("largest spectral radius of an attractor", arrays["radius"][index].item()),
        ]
        for kind, words in (("noise", "noise, standard deviation,"), ("mask", "masked share of the area")):
            level = arrays[f"{kind}_{index}_level"]
            for part, verb in (("rate", "half is recalled"), ("looked_up", "half is found by look-up")):
                quantity = f"{words} up to which at least {verb}"
                found.append(row(quantity, level_at(level, arrays[f"{kind}_{index}_{part}"])))
    found.append(
        _row(NAMES[1], checkpoint, "share of pixels of the first limit as in most images", arrays["majority"].item())
    )
    found.append(_row(NAMES[3], checkpoint, "smallest gap between products of images", arrays["gap"].item()))
    return found


def _row(
    memory: str,
    checkpoint: str,
    quantity: str,
    value: float,
    holds: bool | None = None,
    paper: str = "",
    needed: str = "",
) -> Row:
    claimed = holds is not None
    return Row(
        f"{memory}: {quantity}", paper if claimed else "", float(value), holds, checkpoint, needed if claimed else ""
    )


def draw(arrays: Arrays) -> Any:
    """Recall curves, and how many images are attractors and are recovered."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 2.9), layout="constrained")
    noise, mask, bars = figure.subplots(1, 3, width_ratios=(1, 1, 0.95))
    for axes, kind, label in ((noise, "noise", "standard deviation of the noise"), (mask, "mask", "masked share")):
        for index, name in enumerate(NAMES):
            parts = ("level", "rate", "low", "high")
            draw_curve(axes, {part: arrays[f"{kind}_{index}_{part}"] for part in parts}, index, name)
        for index, colour, name in ((0, BLACK, "look-up, grey"), (1, GREY, "look-up, binary")):
            level, looked_up = arrays[f"{kind}_{index}_level"], arrays[f"{kind}_{index}_looked_up"]
            axes.plot(level, looked_up, "--", lw=1, color=colour, label=name)
        axes.set(xlabel=label, ylim=(-0.02, 1.03), xlim=(0, None))
        tidy(axes)
    noise.set_ylabel("share recalled", fontsize=8)
    handles, labels = noise.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=7)
    _draw_bars(bars, arrays)
    return figure


def _draw_bars(axes: Any, arrays: Arrays) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    count = int(arrays["count"])
    recovered = arrays["recovery"].double() * count
    for index, end in enumerate(as_images(arrays["ends"])):
        for shift, value, alpha, label in (
            (-0.19, arrays["attractors"][index].item(), 1.0, "attractors"),
            (0.19, recovered[index].item(), 0.45, f"recovered, t = {STEPS}"),
        ):
            axes.barh(index + shift, value, 0.36, color=SERIES[index], alpha=alpha)
            axes.text(value + 0.02 * count, index + shift, f"{value:.0f} {label}", va="center", fontsize=6)
        pixels = end.clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy(force=True)
        shown = OffsetImage(pixels, zoom=22 / max(end.shape[1:]), cmap="gray", interpolation="nearest")
        axes.add_artist(
            AnnotationBbox(shown, (-0.14, index), xycoords=("axes fraction", "data"), pad=0.05, annotation_clip=False)
        )
    axes.set(yticks=[], xlim=(0, 1.9 * count), xticks=[0, count // 2, count], ylim=(len(NAMES) - 0.5, -0.5))
    axes.set_xlabel(f"of {count} images")
    tidy(axes)


FIGURE = Figure(
    "memories",
    "The same images in a trained network and in classical associative memories",
    arrays,
    draw,
    lambda: ["mnist20-fc14x128"],
    rows,
    caption="Left and middle: share of damaged copies of the stored images, 16 of each, that iterate back to the image "
    "that they came from, with Wilson's 95 % intervals; dashed, what looking up the nearest stored image of the "
    "damaged copy recalls. Right: stored images that are certified attractors, and those that 1000 held-out images "
    "lead to; the small images are the limits of the first stored image.",
    notes=(
        f"Hopfield's network and the polynomial memory store the images made binary: pixels above {BINARY:g} are 1, "
        f"the others -1. The softmax memory stores the grey values, on the scale from -1 to 1, with beta = {BETA:g}. "
        "Images, noise and masks are in units of pixels in [0, 1] for all, eps is a tenth of the smallest distance "
        "between the images that a memory stores, and all units are updated at one time.",
        "Hebb's rule is made for patterns that are independent, and images share their black ground: that it stores "
        "none of them was to be expected.",
    ),
)
