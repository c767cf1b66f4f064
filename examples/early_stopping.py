"""Stop a run early, and see what it has learned so far: the paper's Figure 6 on ten CIFAR-10 images.

Network D1 with leaky ReLU is trained three times from the same initial values: stopped after 100 epochs, after 1000,
and by EarlyStopping on its loss. Each run ends with a closing measurement: which of the ten images have an attractor
of their own, how far it is from the image, and its spectral radius. An epoch is one step on all ten images.

    python examples/early_stopping.py [--out early-stopping]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

import memzoo
from memzoo.callbacks import AttractorCallback, KeepSteps
from memzoo.data import full_batches
from memzoo.dynamics import default_eps
from memzoo.models import D1

ONE_OF_EACH_CLASS = (3, 6, 25, 0, 22, 12, 4, 13, 1, 11)  # among the CIFAR-10 test images that come with memzoo
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


def load_images() -> tuple[Tensor, Tensor]:
    """Load ten images to train on, one of each class, and thirty others as starts."""
    probes = memzoo.load("cifar10-d1").probes
    assert probes is not None
    others = [i for i in range(len(probes)) if i not in ONE_OF_EACH_CLASS]
    return probes[list(ONE_OF_EACH_CLASS)], probes[others[:30]]


def run(out: Path, stop: list[Callback], epochs: int, steps: int, filters: int) -> AttractorCallback:
    """Train and measure one network, and save it with the weights of its hundredth epoch."""
    examples, starts = load_images()
    torch.manual_seed(0)
    training = {"lr": 5e-4, "schedule": "cosine", "steps": steps}
    init = {"scheme": "xavier_uniform"}  # with zero biases, which are trained
    config = {"activation": "leaky_relu", "bias": True, "init": init, "filters": filters}
    model = D1(config=config, training=training)
    # One radius for all examples, so that numbers of different runs are about the same balls.
    watch = AttractorCallback(starts=starts, max_examples=10, eps=default_eps(examples))
    keeper = KeepSteps(epochs=(100,))
    trainer = Trainer(max_epochs=epochs, callbacks=[watch, keeper, *stop], **QUIET)
    trainer.fit(model, full_batches(examples))
    watch.plot().savefig(out.with_suffix(".png"), dpi=120)
    memzoo.save(
        model, out, examples=examples, probes=starts, keeper=keeper, history=watch.history, overwrite=out.exists()
    )
    return watch


def main(
    epochs: tuple[int, ...] = (100, 1000), most: int = 4000, filters: int = 128, out: Path = Path("early-stopping")
) -> dict[str, AttractorCallback]:
    """Train three networks, and return the callback of each run."""
    out.mkdir(exist_ok=True)
    runs: dict[str, AttractorCallback] = {}
    for count in epochs:
        runs[f"epoch-{count}"] = run(out / f"epoch-{count}", [], count, most, filters)
    patient = EarlyStopping("train/loss", min_delta=1e-6, patience=100)
    runs["early-stopping"] = run(out / "early-stopping", [patient], most, most, filters)
    for name, watch in runs.items():
        print(f"\n{name}: {watch.stopping_reason}\n{watch.examples_table()}")
    return runs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("early-stopping"))
    main(out=parser.parse_args().out)
