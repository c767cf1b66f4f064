"""Figure 7 of the paper: the linear network D1 on two CIFAR-10 images maps everything into their span."""

from typing import Any

from torch import Tensor

from memzoo.data import gaussian_noise
from memzoo.dynamics import bracket_notation
from memzoo.figures.engine import (
    BLUE,
    WIDTH,
    Arrays,
    Figure,
    Material,
    Row,
    create_figure,
    normalise,
    shift_to_grey,
    tidy,
)
from memzoo.plotting import image_grid

SHOWN = 2  # Gaussian inputs in the picture
BOUND = 2e-2  # the bound of the paper for all eigenvalues but two


def measure(material: Material) -> Arrays:
    """Measure the spectrum of the operator, the two images and their outputs, and outputs for Gaussian inputs."""
    m = material.measured()
    noise = gaussian_noise(SHOWN, m.model.config.shape, seed=0)
    return {
        "examples": m.examples,
        "reproduced": m.outputs,
        "noise": noise,
        "noise_outputs": m.model(noise).detach(),
        "eigenvalues": m.spectrum.eigenvalues[0].abs(),
    }


def draw(arrays: Arrays) -> Any:
    """Draw the images, the outputs for Gaussian inputs, and the spectrum."""
    figure = create_figure(WIDTH, 2.5)
    left, middle, right = figure.subfigures(1, 3, width_ratios=(2, 2, 3.4))
    image_grid(left, [("training\nimage", arrays["examples"]), ("output", arrays["reproduced"])])
    inputs = shift_to_grey(arrays["noise"])
    # a combination of the images has any sign and scale, and is therefore stretched to the full range
    outputs = normalise(arrays["noise_outputs"])
    image_grid(middle, [("Gaussian\ninput", inputs), ("output\n(rescaled)", outputs)])
    draw_spectrum(right.subplots(), arrays["eigenvalues"], BOUND)
    return figure


def draw_spectrum(axes: Any, moduli: Tensor, bound: float) -> None:
    """Draw moduli by rank, and the bound that the paper gives for those which belong to no image."""
    count = len(moduli)
    heights = moduli.clamp(min=1e-18).numpy(force=True)  # a zero has no place on a logarithmic axis
    axes.semilogy(range(1, count + 1), heights, "o", ms=3, color=BLUE)
    axes.axhline(bound, color="0.5", lw=1, ls="--")
    axes.annotate(f"{bound:g}, the paper's bound", (count, bound), ha="right", va="bottom", fontsize=7, color="0.35")
    axes.set(xlabel="rank", ylabel="|eigenvalue|", ylim=(None, 5), xlim=(-2, count + 3))
    axes.set_title("spectrum of the network")
    tidy(axes)


def make_rows(material: Material, _: Arrays) -> list[Row]:
    """Compare the spectrum with the bracket of the paper, and list the facts."""
    eigenvalues = material.measured().spectrum.eigenvalues[0]
    moduli = eigenvalues.abs()
    near_one = (moduli[:2] - 1).abs().max().item() <= 1e-2
    holds = near_one and moduli[2].item() < BOUND
    bracket = bracket_notation(eigenvalues, leading=2)
    first = Row("spectrum of the linear operator", "1, 1, [< 2e-2]", bracket, holds, material.names[0])
    return [first, *material.rows()]


FIGURE = Figure(
    "fig7",
    "Figure 7: a linear downsampling network stores two images as eigenvectors of eigenvalue 1",
    measure,
    draw,
    rows=make_rows,
    caption="Left: the two training images and the outputs for them. Middle: outputs for Gaussian inputs are "
    "combinations of the two images. Right: spectrum of the operator.",
)
