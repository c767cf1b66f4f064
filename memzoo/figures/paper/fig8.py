"""Figure 8: the linear network D2 on one CIFAR-10 image maps everything to multiples of it."""

from typing import Any

from torch import Tensor

from memzoo.data import gaussian_noise
from memzoo.dynamics import bracket_notation
from memzoo.figures.engine import WIDTH, Arrays, Claim, Figure, Material, Row, grey
from memzoo.figures.paper.fig7 import draw_spectrum, stretched
from memzoo.plotting import show_image

SHOWN = 3
BOUND = 7e-6


def arrays(material: Material) -> Arrays:
    """Spectrum of the operator, the image and its reproduction, outputs for Gaussian inputs as multiples of it."""
    m = material.measured()
    noise = gaussian_noise(SHOWN, m.model.config.shape, seed=0)
    outputs = m.model(noise).detach()
    return {
        "examples": m.examples,
        "reproduced": m.outputs,
        "noise": noise,
        "noise_outputs": outputs,
        "multiple": multiples(outputs, m.examples[0]),
        "eigenvalues": m.spectrum.eigenvalues[0].abs(),
    }


def multiples(outputs: Tensor, image: Tensor) -> Tensor:
    """The multiple of the image that is nearest to each output, (outputs,)."""
    x = image.flatten().double()
    return outputs.flatten(1).double() @ x / x.dot(x)


def rows(material: Material, _: Arrays) -> list[Row]:
    """The bracket of the paper, and the facts."""
    eigenvalues = material.measured().spectrum.eigenvalues[0]
    moduli = eigenvalues.abs()
    holds = abs(moduli[0].item() - 1) <= 1e-2 and moduli[1].item() < BOUND
    bracket = bracket_notation(eigenvalues, leading=1)
    first = Row(
        "spectrum of the linear operator", "1, [< 7e-6]", bracket, holds, material.names[0], "1 within .01, < 7e-06"
    )
    return [first, *material.rows()]


def draw(arrays: Arrays) -> Any:
    """Image, outputs and the spectrum."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 2.6), layout="constrained")
    panels: Any = figure.subfigures(1, 3, width_ratios=(1, 3, 3))
    pair = panels[0].subplots(2, 1)
    for axes, heading, image in zip(
        pair, ("training image", "output"), (arrays["examples"][0], arrays["reproduced"][0]), strict=True
    ):
        show_image(axes, image)
        axes.set_title(heading, fontsize=8)
    grid = panels[1].subplots(2, SHOWN)
    # each is stretched to the full range, and a negative multiple is a negative
    images = zip(grey(arrays["noise"]), stretched(arrays["noise_outputs"]), arrays["multiple"], strict=True)
    for column, (noise, output, multiple) in enumerate(images):
        show_image(grid[0, column], noise)
        show_image(grid[1, column], output)
        grid[1, column].set_title(rf"${multiple:.2f}\,\times$ image", fontsize=8)
    grid[0, 0].set_ylabel("Gaussian input", fontsize=8)
    grid[1, 0].set_ylabel("output (rescaled)", fontsize=8)
    axes = panels[2].subplots()
    draw_spectrum(axes, arrays["eigenvalues"], BOUND)
    count = len(arrays["eigenvalues"])
    axes.set(xlim=(0.4, count + 2), xticks=range(1, count + 1))
    for text in axes.texts:  # beside the eigenvalues, not across them
        text.set_x(count + 2)
    return figure


FIGURE = Figure(
    "fig8",
    "Figure 8: a linear network of 29 layers stores one image as the eigenvector of eigenvalue 1",
    arrays,
    draw,
    rows=rows,
    claims={"second eigenvalue": Claim(most=BOUND, paper="< 7e-6")},
    caption="Left: the training image and the output for it. Middle: outputs for Gaussian inputs (shown as x / 4 + "
    "1/2) are multiples of the image, each stretched to the full range, so that a negative multiple shows as the "
    "negative. Right: spectrum of the operator; what lies below the resolution of the arithmetic is rounding.",
    notes=(
        "The second eigenvalue is about three times the paper's bound. The entry asks for 1e-3, which leaves no doubt "
        "of the rank; see the page on reproduction for the recipes that were tried.",
        "The paper starts every parameter at 1.8e-3. Then the filters of a layer stay equal for ever and the image "
        "cannot be reproduced, so that a tenth of that is added here as Gaussian noise.",
    ),
)
