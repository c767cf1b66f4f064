"""The last state of a run as one file, whole at every moment."""

import time
from pathlib import Path
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from memzoo.runs.reason import stopping_reason

LAST = "last.ckpt"


@final
class KeepLast(Checkpoint):
    """Write ``last.ckpt`` after everything else that an epoch's end does; a kill leaves the one before or the new one.

    Args:
        folder: That receives it.
        every_n_epochs: At these epochs, and at the end.
        every_n_steps: Also at these optimizer steps within an epoch; not after its last batch, whose epoch's end is
            still to come.
        every_s: At ends of epochs only when so many seconds have gone by.
    """

    folder: Path
    every_n_epochs: int
    every_n_steps: int | None
    every_s: float

    def __init__(
        self, folder: Path, every_n_epochs: int = 1, every_n_steps: int | None = None, every_s: float = 0.0
    ) -> None:
        self.folder, self.every_n_epochs, self.every_n_steps = folder, every_n_epochs, every_n_steps
        self.every_s, self._at = every_s, time.monotonic()
        self._saved = -1
        self.stopped: str | None = None
        """Why a callback ended the run: it is over, and not only as far as it was to go."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Within an epoch."""
        if self.every_n_steps is None or batch_idx + 1 >= trainer.num_training_batches:
            return
        if trainer.global_step // self.every_n_steps > max(self._saved, 0) // self.every_n_steps:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """At an epoch's end."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and trainer.strategy.broadcast(time.monotonic() - self._at >= self.every_s):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What the run ends with: closing measurements, weights that were put back."""
        reason = stopping_reason(trainer)
        self.stopped = reason if trainer.should_stop and not reason.startswith("max_") else None
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            return
        self._saved, self._at = trainer.global_step, time.monotonic()
        part = self.folder / f"{LAST}.part"
        trainer.save_checkpoint(part, weights_only=False)
        if trainer.is_global_zero:
            part.replace(self.folder / LAST)
        trainer.strategy.barrier("memzoo.KeepLast")

    def state_dict(self) -> dict[str, Any]:
        """When it was written last, and whether the run is over."""
        return {"saved": self._saved, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._saved = state_dict["saved"]


def over(path: Path) -> str | None:
    """Why the run that wrote this checkpoint is over, None where it can go on."""
    state = torch.load(path, map_location="cpu", weights_only=True)["callbacks"].get(KeepLast.__name__, {})
    return state.get("stopped")
