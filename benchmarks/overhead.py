"""Measure what the callback costs: wall time of a run with it over that of the same run without, one after the other.

The runs are D1 with leaky ReLU on ten CIFAR-10 images, and a fully connected network, 7 layers of 512, on 1000 MNIST
images, both with all images in one batch; at the default budget, and with ``--every-epoch`` also with a measurement at
every epoch of 100 steps.

    python benchmarks/overhead.py [--steps-d1 3000] [--steps-fc 300] [--every-epoch]
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


def build_d1() -> tuple[LightningModule, Tensor]:
    """Build D1, with ten of the images that come with memzoo."""
    probes = memzoo.load("cifar10-d1").probes
    assert probes is not None
    return D1(activation="leaky_relu", bias=True, init=XAVIER, training={"lr": 5e-4}), probes[:10]


def build_fully_connected() -> tuple[LightningModule, Tensor]:
    """Build the fully connected network, with the thousand held-out images that come with memzoo."""
    _, images = mnist20()
    return FullyConnected(depth=7, width=512, init=XAVIER, training={"lr": 5e-4}), images.pixels()


def time_run(make: Any, steps: int, **options: Any) -> tuple[float, AttractorCallback | None]:
    """Measure the seconds of one run, and return its callback too."""
    torch.manual_seed(0)
    module, images = make()
    # a run without options is the one without the callback
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
    """Print a line for each run."""
    for name, make, steps in (
        ("D1 leaky, 10 images", build_d1, steps_d1),
        ("FC 7x512, 1000 images", build_fully_connected, steps_fc),
    ):
        plain, _ = time_run(make, steps)
        for label, options in (("default budget", {"budget": 0.05}), ("every_n_epochs=1", {"every_n_epochs": 1})):
            if label == "every_n_epochs=1" and not every_epoch:
                continue
            watched, watch = time_run(make, steps, **options)
            assert watch is not None
            costs = [round(row["seconds"], 2) for row in watch.history]
            at = [int(row["step"]) for row in watch.history]
            ratio = f"{watched:.1f} s over {plain:.1f} s = {watched / plain:.3f}x"
            measurements = f"{len(costs)} measurements at steps {at[:12]} of {costs[:12]} s"
            print(f"{name}, {steps} steps, {label}: {ratio}; {measurements}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps-d1", type=int, default=3000)
    parser.add_argument("--steps-fc", type=int, default=300)
    parser.add_argument("--every-epoch", action="store_true")
    arguments = parser.parse_args()
    main(arguments.steps_d1, arguments.steps_fc, arguments.every_epoch)
