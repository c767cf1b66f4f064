"""Drive a :class:`memzoo.Watch` from the Trainer of transformers, which is imported only where it is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn

from memzoo.callbacks.reporting import Row
from memzoo.callbacks.watch import Watch
from memzoo.errors import DependencyMissingError, InvalidArgumentError

STATE = "memzoo_watch.pt"
"""File in each checkpoint of the Trainer that holds the state of the watch."""
Log = Callable[[dict[str, float]], Any]
"""``Trainer.log``."""


def transformers_callback(watch: Watch, log: Log | None = None) -> Any:
    """Return a ``transformers.TrainerCallback`` that measures while a Trainer of transformers trains.

    It counts the optimizer steps of the Trainer, stops the training when ``watch.should_stop``, measures the last
    state, and keeps history and cadence in the checkpoints of the run. The Trainer tells callbacks neither batches nor
    the loss: the examples come from the ``Watch``, and the loss in its history is NaN.

    Args:
        watch: Watch with ``examples``, on the model that the Trainer is given.
        log: ``trainer.log``, which sends the values to all loggers of the Trainer; when left out, they are appended to
            ``trainer.state.log_history`` alone.

    Raises:
        DependencyMissingError: transformers is not installed.
        ValueError: The watch has no examples.
    """
    try:
        from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DependencyMissingError(
            "a callback of transformers needs transformers; pip install transformers."
        ) from error
    if watch.examples is None:
        raise InvalidArgumentError(
            "the Trainer of transformers shows its batches to no callback: pass examples= to Watch, as the model takes "
            "them."
        )
    return type("WatchCallback", (WatchHooks, TrainerCallback), {})(watch, log)


class WatchHooks:
    """Hooks of a ``transformers.TrainerCallback`` that drive a watch."""

    watch: Watch

    def __init__(self, watch: Watch, log: Log | None) -> None:
        self.watch = watch
        self._log = log

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take over the state of a run that is resumed."""
        if state.global_step == 0:
            return
        path = _find_checkpoint(args, state) / STATE
        if not path.is_file():
            rank_zero_warn(f"{path} does not exist: the history begins anew at step {state.global_step}.")
            return
        self.watch.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure if a measurement is due, and stop if a rule asks for it."""
        row = self.watch.step(step=state.global_step)
        if row is not None:
            self._send(row, state, control)
        if self.watch.should_stop:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the state in the checkpoint that was written."""
        content = self.watch.state_dict()  # in all processes
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            part = folder / f"{STATE}.part"
            torch.save(content, part)
            part.replace(folder / STATE)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the last state."""
        before = len(self.watch.history)
        row = self.watch.close()
        if len(self.watch.history) > before:
            self._send(row, state, control)

    def _send(self, row: Row, state: Any, control: Any) -> None:
        """Log the measured values; the Trainer forgets in ``log`` that it was to log the loss of this step."""
        values = {key: value for key, value in row.items() if "/" in key}
        if self._log is None:
            state.log_history.append({**values, "epoch": state.epoch, "step": state.global_step})
            return
        wants_to_log = control.should_log
        try:
            self._log(values)
        except Exception as error:
            rank_zero_warn(f"Trainer.log failed, training goes on: {type(error).__name__}: {error}")
        control.should_log = wants_to_log


def _find_checkpoint(args: Any, state: Any) -> Path:
    """Return the folder of the checkpoint that a run is resumed from."""
    if isinstance(args.resume_from_checkpoint, str):
        return Path(args.resume_from_checkpoint)
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
