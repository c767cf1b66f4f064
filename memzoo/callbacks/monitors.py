"""Find out when other callbacks and schedulers read the logged keys, and whether the value is then a new one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from memzoo._twins import is_kind
from memzoo.callbacks.cadence import Cadence
from memzoo.runs import callbacks_of

Moment = Literal["epoch", "validation", "step", "batch", "time"]
"""At the end of an epoch, of a validation, of an optimizer step, of a batch, or whenever some time has passed."""
WORDS: dict[Moment, str] = {
    "epoch": "epoch",
    "validation": "validation",
    "step": "optimizer step",
    "batch": "batch",
    "time": "interval of time",
}


@dataclass(frozen=True)
class Reader:
    """A callback or a scheduler that reads a key at every n-th of some moments."""

    name: str
    key: str
    moment: Moment
    every: int = 1

    def describe(self) -> str:
        """Say what is read when."""
        often = "every" if self.every == 1 else f"each {self.every}th"
        return f"{self.name} reads {self.key} after {often} {WORDS[self.moment]}"


class Monitors:
    """All readers of the keys that begin with a prefix.

    Args:
        trainer: Trainer whose callbacks are set up.
        prefix: First part of the keys, with its slash.
    """

    def __init__(self, trainer: Trainer, prefix: str) -> None:
        found = [*_find_callbacks(trainer), *_find_schedulers(trainer)]
        self.readers: list[Reader] = [reader for reader in found if reader.key.startswith(prefix)]

    def __bool__(self) -> bool:
        """Tell whether anybody reads one of the keys."""
        return bool(self.readers)

    def read_after_batch(self, step: int, batch_idx: int) -> bool:
        """Tell whether a key is read at the end of this batch, with which ``step`` optimizer steps are made."""
        counts = {"step": step, "batch": batch_idx + 1}
        return any(counts[one.moment] % one.every == 0 for one in self.readers if one.moment in counts)

    def explain_old_values(self, trainer: Trainer, cadence: Cadence) -> list[str]:
        """Name the readers that would take old values for new ones, because nothing is measured when they read."""
        return [reader.describe() for reader in self.readers if not _finds_new_values(reader, trainer, cadence)]


def _find_callbacks(trainer: Trainer) -> Iterator[Reader]:
    for callback in callbacks_of(trainer):
        key = getattr(callback, "monitor", None)
        if isinstance(key, str):
            for moment, every in _list_moments(callback, trainer):
                if moment != "validation" or trainer.enable_validation:
                    yield Reader(type(callback).__name__, key, moment, every)


def _list_moments(callback: Callback, trainer: Trainer) -> list[tuple[Moment, int]]:
    """List when a callback reads what it monitors; one that Lightning does not know may do it after all epochs."""
    if is_kind(callback, EarlyStopping):
        return [("validation" if callback._check_on_train_epoch_end is False else "epoch", 1)]
    if not is_kind(callback, ModelCheckpoint):
        return [("epoch", 1), ("validation", 1)]
    if callback._train_time_interval is not None:
        return [("time", 1)]
    if callback._every_n_train_steps >= 1:
        return [("step", callback._every_n_train_steps)]
    moment: Moment = "epoch" if callback._should_save_on_train_epoch_end(trainer) else "validation"
    return [(moment, callback._every_n_epochs)] if callback._every_n_epochs >= 1 else []


def _find_schedulers(trainer: Trainer) -> Iterator[Reader]:
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and config.monitor is not None:
            moment: Moment = "epoch" if config.interval == "epoch" else "batch"
            yield Reader(type(config.scheduler).__name__, config.monitor, moment, config.frequency)


def _finds_new_values(reader: Reader, trainer: Trainer, cadence: Cadence) -> bool:
    """Tell whether everything that this reader reads is measured at that moment."""
    if cadence.by_budget:  # then a measurement is made whenever somebody reads
        return reader.moment != "time"
    if cadence.every_n_epochs is not None:
        epochs = _count_epochs(reader, trainer)
        return epochs is not None and epochs % cadence.every_n_epochs == 0
    every: Any = cadence.every_n_steps
    between = _list_steps_between(reader, trainer)
    return every == 1 or (bool(between) and all(steps % every == 0 for steps in between))


def _count_epochs(reader: Reader, trainer: Trainer) -> int | None:
    """Return how many epochs lie between two readings, None if these are not all at the ends of epochs."""
    if reader.moment == "epoch":
        return reader.every
    between = trainer.check_val_every_n_epoch
    if reader.moment != "validation" or between is None or trainer.val_check_batch != trainer.num_training_batches:
        return None
    return math.lcm(reader.every, between)


def _list_steps_between(reader: Reader, trainer: Trainer) -> list[float]:
    """List numbers of optimizer steps of whose multiples each reading is a sum; none if only the run will tell."""
    accumulates = trainer.accumulate_grad_batches > 1
    if reader.moment == "step":
        # ModelCheckpoint puts a reading off to the next validation, before the first step and after the last batch.
        at_ends = trainer.check_val_every_n_epoch and trainer.val_check_batch == trainer.num_training_batches
        return [] if trainer.enable_validation and (accumulates or not at_ends) else [reader.every]
    if trainer.num_training_batches == math.inf or not trainer.lightning_module.automatic_optimization:
        return []
    epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    epochs = _count_epochs(reader, trainer)
    if epochs is not None:
        return [epochs * epoch]
    if accumulates or reader.moment == "time":
        return []
    if reader.moment == "batch":
        return [reader.every, epoch]
    within: Any = trainer.val_check_batch
    return [within] if trainer.check_val_every_n_epoch is None else [within, epoch]
