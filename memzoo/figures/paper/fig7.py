"""Figure 7: the linear network D1 on two CIFAR-10 images maps everything into their span."""

from typing import Any

from torch import Tensor

from memzoo.data import gaussian_noise
from memzoo.dynamics import bracket_notation
from memzoo.figures.engine import BLUE, WIDTH, Arrays, Figure, Material, Row, grey, tidy
from memzoo.plotting import image_grid

SHOWN = 2
BOUND = 2e-2


def arrays(material: Material) -> Arrays:
    """Spectrum of the operator, the two images and their reproductions, outputs for Gaussian inputs."""
    m = material.measured()
    noise = gaussian_noise(SHOWN, m.model.config.shape, seed=0)
    return {
        "examples": m.examples,
        "reproduced": m.outputs,
        "noise": noise,
        "noise_outputs": m.model(noise).detach(),
        "eigenvalues": m.spectrum.eigenvalues[0].abs(),
    }


def rows(material: Material, _: Arrays) -> list[Row]:
    """The bracket of the paper, and the facts."""
    eigenvalues = material.measured().spectrum.eigenvalues[0]
    moduli = eigenvalues.abs()
    holds = (moduli[:2] - 1).abs().max().item() <= 1e-2 and moduli[2].item() < BOUND
    bracket = bracket_notation(eigenvalues, leading=2)
    first = Row("spectrum of the linear operator", "1, 1, [< 2e-2]", bracket, holds, material.names[0])
    return [first, *material.rows()]


def draw(arrays: Arrays) -> Any:
    """Images, outputs and the spectrum."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH, 2.5), layout="constrained")
    panels: Any = figure.subfigures(1, 3, width_ratios=(2, 2, 3.4))
    left, middle, right = panels
    image_grid(left, [("training\nimage", arrays["examples"]), ("output", arrays["reproduced"])])
    # a combination of the images has any sign and scale: shown stretched to the full range
    image_grid(
        middle,
        [("Gaussian\ninput", grey(arrays["noise"])), ("output\n(rescaled)", stretched(arrays["noise_outputs"]))],
    )
    draw_spectrum(right.subplots(), arrays["eigenvalues"], BOUND)
    return figure


def stretched(images: Tensor) -> Tensor:
    """Each from black to white."""
    low = images.amin((1, 2, 3), keepdim=True)
    return (images - low) / (images.amax((1, 2, 3), keepdim=True) - low).clamp(min=1e-12)


def draw_spectrum(axes: Any, moduli: Tensor, bound: float) -> None:
    """Moduli by rank, and the bound that the paper gives for those which belong to no image."""
    ranks = range(1, len(moduli) + 1)
    axes.semilogy(ranks, moduli.clamp(min=1e-18).numpy(force=True), "o", ms=3, color=BLUE)
    axes.axhline(bound, color="0.5", lw=1, ls="--")
    axes.annotate(
        f"{bound:g}, the paper's bound", (len(moduli), bound), ha="right", va="bottom", fontsize=7, color="0.35"
    )
    axes.set(xlabel="rank", ylabel="|eigenvalue|", ylim=(None, 5), xlim=(-2, len(moduli) + 3))
    axes.set_title("spectrum of the network")
    tidy(axes)


FIGURE = Figure(
    "fig7",
    "Figure 7: a linear downsampling network stores two images as eigenvectors of eigenvalue 1",
    arrays,
    draw,
    rows=rows,
    caption="Left: the two training images and the outputs for them. Middle: outputs for Gaussian inputs are "
    "combinations of the two images. Right: spectrum of the operator.",
)
