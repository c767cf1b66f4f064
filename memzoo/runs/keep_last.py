"""Keep the last state of a run as one file that is complete at every moment."""

import os
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from memzoo._reading import is_file
from memzoo._user_warning import warn_user
from memzoo.errors import CorruptCheckpointError
from memzoo.runs.reason import stopping_reason

LAST = "last.ckpt"
BEFORE = "before-last.ckpt"
BEFORE_S = 60.0
"""Seconds after which the state before the last one is replaced by a later one."""


@final
class KeepLast(Checkpoint):
    """Write ``last.ckpt`` after all other callbacks at the end of an epoch.

    The file is written aside and renamed: a run that is killed leaves the previous file or the new one. The state with
    which a resumed run began, later one that was the last a minute ago, is kept as ``before-last.ckpt``.

    Args:
        folder: Folder that receives the file.
        every_n_epochs: Write at the end of every n-th epoch, and at the end of the run.
        every_n_steps: Also write at every n-th optimizer step within an epoch. The last batch of an epoch is left out,
            because the end of that epoch is still to come.
        every_s: Write at the end of an epoch only if this many seconds have passed since the last time.
    """

    folder: Path
    every_n_epochs: int
    every_n_steps: int | None
    every_s: float

    def __init__(
        self, folder: Path, every_n_epochs: int = 1, every_n_steps: int | None = None, every_s: float = 0.0
    ) -> None:
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.every_s = every_s
        self._saved_at = time.monotonic()
        self._saved_step = -1
        self._kept_at = -BEFORE_S
        self.stopped: str | None = None
        """Why a callback ended the run; None if the run only went as far as it was asked to go."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write within an epoch, where a multiple of ``every_n_steps`` was passed since the last time."""
        if self.every_n_steps is None or batch_idx + 1 >= trainer.num_training_batches:
            return
        if trainer.global_step // self.every_n_steps > max(self._saved_step, 0) // self.every_n_steps:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write at the end of an epoch, if one is due."""
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        # The clocks of the processes differ, and all of them must take part in saving: rank 0 decides.
        if trainer.strategy.broadcast(time.monotonic() - self._saved_at >= self.every_s):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state that the run ends with: closing measurements, and weights that were put back."""
        reason = stopping_reason(trainer)
        self.stopped = reason if trainer.should_stop and not reason.startswith("max_") else None
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            return
        self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()
        # renaming is atomic: whoever looks finds the file before, or the whole new one
        part = self.folder / f"{LAST}.part"
        trainer.save_checkpoint(part, weights_only=False)
        if trainer.is_global_zero:
            self._keep_one_before()
            part.replace(self.folder / LAST)
        trainer.strategy.barrier("memzoo.KeepLast")

    def _keep_one_before(self) -> None:
        """Give the last state a second name, under which it stays when it is replaced."""
        if time.monotonic() - self._kept_at < BEFORE_S:
            return
        self._kept_at = time.monotonic()
        last = self.folder / LAST
        if not last.is_file():
            return
        part = self.folder / f"{BEFORE}.part"
        part.unlink(missing_ok=True)
        try:
            os.link(last, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(last, part)
        part.replace(self.folder / BEFORE)

    def state_dict(self) -> dict[str, Any]:
        """Return the step that was written last, and why the run is over."""
        return {"saved": self._saved_step, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume after the step that was written last."""
        self._saved_step = state_dict["saved"]


def find_last(folder: Path) -> Path | None:
    """Find the last whole state of a run; None if there is none.

    Warns:
        UserWarning: The last state is damaged, and the one before it is taken.

    Raises:
        CorruptCheckpointError: The last state is damaged, and there is no whole one before it.
        StorageError: The folder cannot be looked into.
    """
    last = folder / LAST
    before = folder / BEFORE
    if not is_file(last):
        return before if is_file(before) else None
    try:
        check_checkpoint(last)
    except CorruptCheckpointError as error:
        if not is_file(before):
            raise
        check_checkpoint(before)
        warn_user(f"{error} The run goes on from the state before it, {before}.")
        return before
    return last


def check_checkpoint(path: Path) -> None:
    """Raise CorruptCheckpointError unless a checkpoint is whole and holds what Lightning writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # compares the checksum of each part
        if damaged is None and "callbacks" in _read(path):
            return
        reason = f"{damaged} in it has another checksum" if damaged else "it is no checkpoint of a run"
    except Exception as error:  # a damaged file fails in more ways than can be listed
        lines = str(error).splitlines() or [type(error).__name__]
        reason = lines[0]
    raise CorruptCheckpointError(
        f"{path} is damaged or was cut short ({path.stat().st_size} bytes): {reason}. Restore it from a copy, or begin "
        "anew."
    )


def read_stopping_reason(path: Path) -> str | None:
    """Return why the run that wrote this checkpoint is over, None if the run can be resumed."""
    state = _read(path)["callbacks"].get(KeepLast.__name__, {})
    return state.get("stopped")


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)
