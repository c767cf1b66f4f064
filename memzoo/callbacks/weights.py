"""Which weights of a run are measured: the averaged ones, where a callback averages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging


def averager(trainer: Trainer) -> WeightAveraging | None:
    """The callback that averages weights, also as an exponential moving average, if there is one."""
    return next((callback for callback in _callbacks(trainer) if isinstance(callback, WeightAveraging)), None)


@contextmanager
def delivered_weights(
    trainer: Trainer, module: LightningModule, observer: Callback, *, validating: bool
) -> Iterator[None]:
    """Put the averaged weights in place, those that the run validates and ends with; then put back what was there.

    Args:
        trainer: Its callbacks are searched for a ``WeightAveraging``; without one nothing is done.
        module: The module in training.
        observer: The callback that measures.
        validating: Called from ``on_validation_epoch_end``, where the averaged weights are still in place for the
            callbacks that stand before the one that averages.
    """
    averaging = averager(trainer)
    callbacks = _callbacks(trainer)
    if averaging is None or (validating and callbacks.index(observer) < callbacks.index(averaging)):
        yield
        return
    own = module.state_dict()
    checkpoint: dict[str, Any] = {"state_dict": own}
    averaging.on_save_checkpoint(trainer, module, checkpoint)  # puts the average in this place
    kept = {name: value.clone() for name, value in own.items()}
    _copy(checkpoint["state_dict"], own)
    try:
        yield
    finally:
        _copy(kept, own)


@torch.no_grad()
def _copy(source: dict[str, Any], target: dict[str, Any]) -> None:
    for name, value in source.items():
        if isinstance(target.get(name), torch.Tensor):
            target[name].copy_(value)


def _callbacks(trainer: Trainer) -> list[Callback]:
    return trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
