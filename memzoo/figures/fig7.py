"""Figure 7: the linear network D1 on two CIFAR-10 images maps everything into their span."""

from typing import Any

import torch

from memzoo.callbacks.image_grid import image_grid
from memzoo.dynamics import bracket_notation, spectrum
from memzoo.figures.reproduction import Reproduction, Row
from memzoo.metrics import span_residual
from memzoo.models import Autoencoder

CHECKPOINT = "cifar10-d1"
TITLE = "Figure 7: a linear downsampling network stores two images as eigenvectors of eigenvalue 1"
NOISE = 1000


def reproduce(model: Autoencoder, checkpoint: str = CHECKPOINT) -> Reproduction:
    """Spectrum of the operator, reproduction of the two images, outputs for Gaussian inputs."""
    assert model.examples is not None
    examples = model.examples
    eigenvalues = spectrum(model, examples[:1]).eigenvalues[0]
    moduli = eigenvalues.abs()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((NOISE, *examples.shape[1:]), generator=generator)
    with torch.no_grad():
        outputs, reproduced = model(noise), model(examples)
    error = ((reproduced - examples).flatten(1).norm(dim=1) / examples.flatten(1).norm(dim=1)).max().item()
    residual = span_residual(outputs, examples).median().item()
    leading = (moduli[:2] - 1).abs().max().item()
    holds = leading <= 1e-2 and moduli[2].item() < 2e-2
    rows = (
        Row("spectrum of the linear operator", "1, 1, [< 2e-2]", bracket_notation(eigenvalues, leading=2), holds),
        Row("largest relative error of reproducing the images (<= 1e-2)", "reproduced", error, error <= 1e-2),
        Row("median distance of Gaussian outputs from the span (<= 1e-2)", "in the span", residual, residual <= 1e-2),
    )

    def draw() -> Any:
        return _draw(examples, reproduced, noise[:4], outputs[:4], moduli)

    return Reproduction("fig7", TITLE, checkpoint, rows, draw)


def _draw(
    examples: torch.Tensor,
    reproduced: torch.Tensor,
    noise: torch.Tensor,
    outputs: torch.Tensor,
    moduli: torch.Tensor,
) -> Any:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(7.2, 2.5), layout="constrained")
    panels: Any = figure.subfigures(1, 3, width_ratios=(2, 2, 3.4))
    left, middle, right = panels
    image_grid(left, [("training\nimage", examples), ("output", reproduced)])
    # a combination of the images has any sign and scale: shown stretched to the full range
    stretched = outputs - outputs.amin((1, 2, 3), keepdim=True)
    stretched = stretched / stretched.amax((1, 2, 3), keepdim=True)
    image_grid(middle, [("Gaussian\ninput", noise[:2] / 4 + 0.5), ("output\n(rescaled)", stretched[:2])])
    axes = right.subplots()
    rank = range(1, len(moduli) + 1)
    axes.semilogy(rank, moduli.numpy(force=True), "o", ms=3, color="#0072B2")
    axes.axhline(2e-2, color="0.5", lw=1, ls="--")
    axes.annotate("2e-2, the paper's bound", (len(moduli), 2e-2), ha="right", va="bottom", fontsize=7, color="0.35")
    axes.set(xlabel="rank", ylabel="|eigenvalue|", ylim=(None, 5), xlim=(-2, len(moduli) + 3))
    axes.set_title("spectrum of the network", fontsize=8)
    axes.tick_params(labelsize=7)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    return figure
