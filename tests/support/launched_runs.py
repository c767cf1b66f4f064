"""A run in two processes that the Trainer launches: ``python launched_runs.py STRATEGY FILE``."""

import sys

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from memzoo.callbacks import AttractorCallback, KeepSteps, StopBeforeMemorized, StopWhenMemorized
from memzoo.models import FullyConnected

POINTS = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])


def reconstruct(module, x):
    return module(x)


def run(strategy):
    torch.manual_seed(0)
    module = FullyConnected(shape=(2,), depth=2, width=8, activation="tanh", training={"lr": 5e-3})
    # a function that cannot be sent to another process stays where the user gave it
    adapter = (lambda module, x: module(x)) if strategy == "ddp_fork" else reconstruct
    watch = AttractorCallback(POINTS, POINTS * 0.5, self_map=adapter, steps=5, every_n_epochs=1, verbose=False)
    keep = KeepSteps(steps=[3], epochs=[2])
    rules = [StopWhenMemorized(measurements=50), StopBeforeMemorized(0.99)]
    trainer = Trainer(
        max_epochs=2,
        callbacks=[watch, keep, *rules],
        devices=2,
        accelerator="cpu",
        strategy=strategy,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(POINTS, batch_size=1))
    return {
        "history": watch.history,
        "table": watch.table(),
        "examples_table": watch.examples_table(),
        "again": watch.measure(module),
        "weights": module.state_dict(),
        "kept": keep.kept,
        "clean": (rules[1].clean_step, rules[1].clean),
        "adapter": watch.adapter is adapter,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save(run(sys.argv[1]), sys.argv[2])
