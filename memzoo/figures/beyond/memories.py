"""The same images in a trained network and in classical associative memories, all measured in the same way.

The classical memories are Hopfield's network with Hebb's rule (Hopfield, 1982), the memory with a polynomial energy
(Krotov and Hopfield, 2016), and the one with a softmax (Ramsauer et al., 2020).
"""

from collections.abc import Callable
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
    recovery_curve,
)
from memzoo.dynamics.memory import level_at
from memzoo.figures.beyond.recall import DAMAGES, draw_curve, draw_look_up, measure_recall, select_curve
from memzoo.figures.engine import (
    BLACK,
    GREY,
    SERIES,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    place_image,
    report_number,
    stack_arrays,
    tidy,
)
from memzoo.plotting import as_images

BINARY = 0.5  # pixels above are 1, the others 0
DEGREE = 30  # of the polynomial
BETA = 0.25  # inverse temperature of the softmax, for pixels in [-1, 1]
STEPS = 200  # iterations of the recovery curves
NAMES = ("trained network", "Hopfield, Hebb's rule", f"polynomial, degree {DEGREE}", f"softmax, beta = {BETA:g}")
HEBB = 1  # position of Hopfield's network among the memories
SOFTMAX = 3
LOOK_UPS = ((0, BLACK, "look-up, grey"), (HEBB, GREY, "look-up, binary"))
"""A memory that stores the grey values of the images, and one that stores binary images."""
QUANTITIES = {
    "attractors": "certified attractors",
    "recovery": f"R_{STEPS} from the held-out starts",
    "arrived": f"starts at a stored image by t = {STEPS}",
    "arrived_at_once": "starts at a stored image by t = 1",
    "limits": "distinct limits of the stored images",
    "offset": "median distance of a stored image from its limit, L2",
    "radius": "largest spectral radius of an attractor",
}
"""Arrays that are reported of each memory, with their words."""

Memory = Callable[[Tensor], Tensor]


def build_memories(network: Memory, examples: Tensor) -> list[tuple[Memory, Tensor]]:
    """Build each memory as a map of images with pixels in [0, 1], together with the images that it stores."""
    binary = (examples > BINARY).to(examples)
    signs = _to_signed(binary)
    hebb = hopfield(signs)
    polynomial = polynomial_memory(signs, DEGREE)
    softmax = dense_associative_memory(_to_signed(examples), BETA)
    return [
        (network, examples),
        (_map_pixels(hebb), binary),
        (_map_pixels(polynomial), binary),
        (_map_pixels(softmax), examples),
    ]


def _to_signed(pixels: Tensor) -> Tensor:
    """Map pixels in [0, 1] to [-1, 1]."""
    return 2 * pixels - 1


def _map_pixels(memory: Memory) -> Memory:
    """Turn a memory of values in [-1, 1] into a map of pixels in [0, 1]: the same dynamics in other units."""
    return lambda x: (memory(_to_signed(x)) + 1) / 2


def measure(material: Material) -> Arrays:
    """Measure recall, attractors, radii and R_200 of each memory, and the limit of the first image."""
    m = material.measured()
    found: Arrays = {}
    numbers = []
    for index, (memory, stored) in enumerate(build_memories(m.model, m.examples)):
        eps = default_eps(stored)  # of the images as this memory stores them
        found |= measure_recall(memory, stored, eps, index)
        if index == 0:  # what is measured of the network is kept for its facts
            certificates = m.certificates(eps)
            curve = m.curve(STEPS, eps)
        else:
            certificates = certify(memory, stored, eps=eps)
            curve = recovery_curve(memory, m.probes, stored, STEPS, eps, tol=None)
        numbers.append({"eps": torch.tensor(eps, dtype=torch.float64), **_summarise(certificates, curve)})
    found |= {"count": torch.tensor(len(m.examples)), **stack_arrays(numbers), "first": m.examples[:1]}
    # Hebb's rule is known to mix correlated patterns: its first limit is compared with the majority of all images
    majority = (m.examples > BINARY).double().mean(0) > 0.5
    found["majority"] = ((found["ends"][HEBB] > BINARY) == majority).double().mean()
    return found | {"gap": _measure_gap(m.examples)}


def _summarise(certificates: Certificates, curve: RecoveryCurve) -> Arrays:
    """Summarise what is certified of a memory, and how it recovers its images from the held-out starts."""
    radii = certificates.radius[certificates.attractor]
    return {
        "attractors": certificates.attractor.sum(),
        "limits": torch.tensor(len(certificates.limit_of.unique())),
        "offset": certificates.offset.quantile(0.5),
        "radius": radii.max() if len(radii) else torch.tensor(torch.nan, dtype=torch.float64),
        "recovery": curve.rate[STEPS],
        "arrived": curve.arrived[STEPS],
        "arrived_at_once": curve.arrived[1],
        "ends": certificates.points[0],
    }


def _measure_gap(examples: Tensor) -> Tensor:
    """Measure by how much an image's inner product with itself exceeds those with others, least of all images.

    A memory with a softmax of inverse temperature beta separates two patterns where beta times this gap is large.
    """
    signed = _to_signed(examples.flatten(1).double())
    products = signed @ signed.T
    others = products.clone().fill_diagonal_(-torch.inf).amax(1)
    return (products.diagonal() - others).min()


def draw(arrays: Arrays) -> Any:
    """Draw recall curves, and beside them how many images are attractors and how many are recovered."""
    figure = create_figure(WIDTH, 2.9)
    noise, mask, bars = figure.subplots(1, 3, width_ratios=(1, 1, 0.95))
    _draw_recall(noise, arrays, "noise", "standard deviation of the noise")
    _draw_recall(mask, arrays, "mask", "masked share")
    noise.set_ylabel("share recalled", fontsize=8)
    add_legend(figure, noise, loc="outside upper center", ncols=3)
    _draw_bars(bars, arrays)
    return figure


def _draw_recall(axes: Any, arrays: Arrays, kind: str, label: str) -> None:
    for index, name in enumerate(NAMES):
        draw_curve(axes, select_curve(arrays, kind, index), index, name)
    for index, colour, name in LOOK_UPS:
        draw_look_up(axes, select_curve(arrays, kind, index), colour, name)
    axes.set(xlabel=label, ylim=(-0.02, 1.03), xlim=(0, None))
    tidy(axes)


def _draw_bars(axes: Any, arrays: Arrays) -> None:
    """Draw two bars for each memory, and before them the limit of the first image."""
    count = int(arrays["count"])
    recovered = arrays["recovery"].double() * count
    for index, end in enumerate(as_images(arrays["ends"])):
        colour = SERIES[index]
        _draw_bar(axes, index - 0.19, arrays["attractors"][index], count, "attractors", color=colour)
        _draw_bar(axes, index + 0.19, recovered[index], count, f"recovered, t = {STEPS}", color=colour, alpha=0.45)
        beside = {"xycoords": ("axes fraction", "data"), "pad": 0.05, "annotation_clip": False}
        place_image(axes, end, (-0.14, index), 22, **beside)
    axes.set(yticks=[], ylim=(len(NAMES) - 0.5, -0.5))
    axes.set(xticks=[0, count // 2, count], xlim=(0, 1.9 * count), xlabel=f"of {count} images")
    tidy(axes)


def _draw_bar(axes: Any, height: float, value: Tensor, count: int, label: str, **style: Any) -> None:
    length = value.item()
    axes.barh(height, length, 0.36, **style)
    axes.text(length + 0.02 * count, height, f"{length:.0f} {label}", va="center", fontsize=6)


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """List the same numbers for each memory; those of the trained network are compared with perfect recall."""
    checkpoint = material.names[0]
    needed = {"attractors": int(arrays["count"]), "recovery": 1}
    found = []
    for index, name in enumerate(NAMES):
        for part, words in QUANTITIES.items():
            quantity = f"{name}: {words}"
            value = float(arrays[part][index])
            if index == 0 and part in needed:
                holds = value == needed[part]
                found.append(Row(quantity, "all", value, holds, checkpoint, str(needed[part])))
            else:
                found.append(report_number(quantity, value, checkpoint))
        for kind, words in DAMAGES.items():
            curve = select_curve(arrays, kind, index)
            level = curve["level"]
            for part, verb in (("rate", "is recalled"), ("looked_up", "is found by look-up")):
                quantity = f"{name}: {words} up to which at least half {verb}"
                found.append(report_number(quantity, level_at(level, curve[part]), checkpoint))
    majority = f"{NAMES[HEBB]}: share of pixels of the first limit as in most images"
    gap = f"{NAMES[SOFTMAX]}: smallest gap between products of images"
    found.append(report_number(majority, arrays["majority"].item(), checkpoint))
    found.append(report_number(gap, arrays["gap"].item(), checkpoint))
    return found


FIGURE = Figure(
    "memories",
    "The same images in a trained network and in classical associative memories",
    measure,
    draw,
    lambda: ["mnist20-fc14x128"],
    make_rows,
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
