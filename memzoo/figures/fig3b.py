"""Figure 3b: a deep fully connected autoencoder on 20 MNIST images, whose training images are attractors."""

from typing import Any

import torch
from torch import Tensor

from memzoo.callbacks.image_grid import image_grid
from memzoo.dynamics import certify, default_eps, iterate, nearest, recovery_curve
from memzoo.figures.reproduction import Reproduction, Row
from memzoo.models import Autoencoder

CHECKPOINT = "mnist20-fc14x128"
TITLE = "Figure 3b: iterating a 14-layer autoencoder maps test images to training images"
TIMES = (1, 2, 5, 10, 20, 200)
SHOWN = 6


def reproduce(model: Autoencoder, checkpoint: str = CHECKPOINT) -> Reproduction:
    """Measure the checkpoint and prepare the picture; the first starts are shown, not chosen ones."""
    assert model.examples is not None
    assert model.probes is not None
    examples, starts = model.examples, model.probes
    eps = default_eps(examples)
    certificates = certify(model, examples, eps=eps)
    curve = recovery_curve(model, starts, examples, 200, eps=eps)
    count = int(certificates.attractor.sum())
    half = (curve.arrived >= 0.5).nonzero().flatten()
    rows = (
        Row("training images that are certified attractors", f"{len(examples)}", f"{count}", count == len(examples)),
        Row(
            f"recovery probability R_200 (eps = {eps:.3g})", "all", curve.rate[200].item(), curve.rate[200].item() == 1
        ),
        Row(
            "share of test images at a training image by t = 200",
            "all",
            curve.arrived[200].item(),
            bool(curve.arrived[200] > 0.99),
        ),
        Row(
            "share of test images at a training image by t = 1",
            "all",
            curve.arrived[1].item(),
            bool(curve.arrived[1] > 0.5),
        ),
        Row("t by which half of the test images are there", "1", str(int(half[0])) if len(half) else "never", None),
    )

    def draw() -> Any:
        return draw_trajectories(model, starts[:SHOWN], examples)

    return Reproduction("fig3b", TITLE, checkpoint, rows, draw)


def draw_trajectories(model: torch.nn.Module, starts: Tensor, examples: Tensor) -> Any:
    """Picture with a row a start: the start, its iterates, and the training image nearest to the last one."""
    import matplotlib.pyplot as plt

    orbit = iterate(model, starts, max(TIMES), keep=TIMES)
    columns = [("start", starts), *((f"t = {t}", orbit.kept[t]) for t in TIMES)]
    columns.append(("training\nimage", examples[nearest(orbit.points, examples).index]))
    figure = plt.figure(figsize=(0.82 * len(columns), 0.82 * len(starts) + 0.3), layout="constrained")
    image_grid(figure, columns)
    return figure
