"""Figure 8 of the paper: the linear network D2 on one CIFAR-10 image maps everything to multiples of the image."""

from typing import Any

from torch import Tensor

from memzoo.data import gaussian_noise
from memzoo.dynamics import bracket_notation
from memzoo.figures.engine import (
    WIDTH,
    Arrays,
    Claim,
    Figure,
    Material,
    Row,
    create_figure,
    normalise,
    shift_to_grey,
)
from memzoo.figures.paper.fig7 import draw_spectrum
from memzoo.plotting import show_image

SHOWN = 3  # Gaussian inputs in the picture
BOUND = 7e-6  # the bound of the paper for all eigenvalues but one


def measure(material: Material) -> Arrays:
    """Measure the spectrum of the operator, the output for the image, and outputs for Gaussian inputs as multiples."""
    m = material.measured()
    noise = gaussian_noise(SHOWN, m.model.config.shape, seed=0)
    outputs = m.model(noise).detach()
    return {
        "examples": m.examples,
        "reproduced": m.outputs,
        "noise": noise,
        "noise_outputs": outputs,
        "multiple": project(outputs, m.examples[0]),
        "eigenvalues": m.spectrum.eigenvalues[0].abs(),
    }


def project(outputs: Tensor, image: Tensor) -> Tensor:
    """Compute the multiple of the image that is nearest to each output, (outputs,)."""
    # the least squares solution c of y = c x is <y, x> / <x, x>
    x = image.flatten().double()
    return outputs.flatten(1).double() @ x / x.dot(x)


def draw(arrays: Arrays) -> Any:
    """Draw the image, the outputs for Gaussian inputs, and the spectrum."""
    figure = create_figure(WIDTH, 2.6)
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1, 3, 3))
    pair = {"training image": arrays["examples"], "output": arrays["reproduced"]}
    for axes, (heading, images) in zip(left.subplots(2, 1), pair.items(), strict=True):
        show_image(axes, images[0])
        axes.set_title(heading, fontsize=8)
    _draw_outputs(middle, arrays)
    axes = right.subplots()
    draw_spectrum(axes, arrays["eigenvalues"], BOUND)
    count = len(arrays["eigenvalues"])
    axes.set(xlim=(0.4, count + 2), xticks=range(1, count + 1))
    for text in axes.texts:  # beside the eigenvalues, not across them
        text.set_x(count + 2)
    return figure


def _draw_outputs(panel: Any, arrays: Arrays) -> None:
    """Draw Gaussian inputs above, and below them their outputs, stretched to the full range.

    A negative multiple of the image therefore shows as its negative.
    """
    inputs, outputs = panel.subplots(2, SHOWN)
    for axes, noise in zip(inputs, shift_to_grey(arrays["noise"]), strict=True):
        show_image(axes, noise)
    for axes, output, multiple in zip(outputs, normalise(arrays["noise_outputs"]), arrays["multiple"], strict=True):
        show_image(axes, output)
        axes.set_title(rf"${multiple:.2f}\,\times$ image", fontsize=8)
    inputs[0].set_ylabel("Gaussian input", fontsize=8)
    outputs[0].set_ylabel("output (rescaled)", fontsize=8)


def make_rows(material: Material, _: Arrays) -> list[Row]:
    """Compare the spectrum with the bracket of the paper, and list the facts."""
    eigenvalues = material.measured().spectrum.eigenvalues[0]
    moduli = eigenvalues.abs()
    holds = abs(moduli[0].item() - 1) <= 1e-2 and moduli[1].item() < BOUND
    bracket = bracket_notation(eigenvalues, leading=1)
    spectrum = Row(
        "spectrum of the linear operator",
        "1, [< 7e-6]",
        bracket,
        holds,
        material.names[0],
        "1 within .01, < 7e-06",
    )
    return [spectrum, *material.rows()]


FIGURE = Figure(
    "fig8",
    "Figure 8: a linear network of 29 layers stores one image as the eigenvector of eigenvalue 1",
    measure,
    draw,
    rows=make_rows,
    claims={"second eigenvalue": Claim(most=BOUND, paper="< 7e-6")},
    caption="Left: the training image and the output for it. Middle: outputs for Gaussian inputs (shown as x / 4 + "
    "1/2) are multiples of the image, each stretched to the full range, so that a negative multiple shows as the "
    "negative. Right: spectrum of the operator; what lies below the resolution of the arithmetic is rounding.",
    notes=(
        "The second eigenvalue is about that of 25 sums over 3x3 neighbours of a 4x4 square, 6e-6: see the page on "
        "reproduction.",
        "The paper starts every parameter at 1.8e-3. Then the filters of a layer stay equal for ever and the image "
        "cannot be reproduced, so that 3 % of that is added here as Gaussian noise.",
    ),
)
