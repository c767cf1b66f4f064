"""What watching costs: wall time of a run with the callback over that of the same run without, one after the other.

Two runs: D1 with leaky ReLU on ten CIFAR-10 images, and a fully connected network, 7 layers of 512, on 1000 MNIST
images, both with all images in one batch. At the default budget, and with a measurement at every epoch of 100 steps.

    python benchmarks/overhead.py [--steps-d1 3000] [--steps-fc 300]
"""

import argparse
import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

import memzoo
from memzoo.callbacks import AttractorCallback
from memzoo.data import full_batches, mnist20
from memzoo.models import D1, FullyConnected

XAVIER = {"scheme": "xavier_uniform"}


def d1() -> tuple[LightningModule, Tensor]:
    """Ten images, among those that come with memzoo."""
    probes = memzoo.load("cifar10-d1").probes
    assert probes is not None
    return D1(activation="leaky_relu", bias=True, init=XAVIER, training={"lr": 5e-4}), probes[:10]


def fully_connected() -> tuple[LightningModule, Tensor]:
    """A thousand images, those that come with memzoo as held-out ones."""
    _, images = mnist20()
    return FullyConnected(depth=7, width=512, init=XAVIER, training={"lr": 5e-4}), images.pixels()


def timed(make: Any, steps: int, **options: Any) -> tuple[float, AttractorCallback | None]:
    """Seconds of one run, and its callback."""
    torch.manual_seed(0)
    module, images = make()
    watch = AttractorCallback(verbose=False, **options) if options else None
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        callbacks=[] if watch is None else [watch],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = full_batches(images, steps_per_epoch=min(100, steps))
    started = time.perf_counter()
    trainer.fit(module, data)
    return time.perf_counter() - started, watch


def main(steps_d1: int, steps_fc: int, every_epoch: bool) -> None:
    """Print a line a run."""
    for name, make, steps in (
        ("D1 leaky, 10 images", d1, steps_d1),
        ("FC 7x512, 1000 images", fully_connected, steps_fc),
    ):
        plain, _ = timed(make, steps)
        for label, options in (("default budget", {"budget": 0.05}), ("every_n_epochs=1", {"every_n_epochs": 1})):
            if label == "every_n_epochs=1" and not every_epoch:
                continue
            watched, watch = timed(make, steps, **options)
            assert watch is not None
            costs = [round(row["seconds"], 2) for row in watch.history]
            at = [int(row["step"]) for row in watch.history]
            print(
                f"{name}, {steps} steps, {label}: {watched:.1f} s over {plain:.1f} s = {watched / plain:.3f}x; "
                f"{len(costs)} measurements at steps {at[:12]} of {costs[:12]} s",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps-d1", type=int, default=3000)
    parser.add_argument("--steps-fc", type=int, default=300)
    parser.add_argument("--every-epoch", action="store_true")
    arguments = parser.parse_args()
    main(arguments.steps_d1, arguments.steps_fc, arguments.every_epoch)
