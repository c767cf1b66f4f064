"""Keep the weights of a run at some of its steps, as a checkpoint of the zoo stores them."""

from collections.abc import Sequence
from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from memzoo.callbacks.weights import move_after_averaging, use_delivered_weights
from memzoo.errors import InvalidArgumentError
from memzoo.runs import FitCallback


@final
class KeepSteps(FitCallback):
    """Keep the weights of a run after some optimizer steps or epochs, in memory, beside those of the end.

    Where a callback averages weights, the averaged ones are kept, because the run ends with averaged weights.

    ``memzoo.save(model, folder, ..., keeper=keeper)`` stores them with the final weights, and
    ``memzoo.load("local-dir:folder", step=100)`` loads them again. They also travel in the checkpoints of the run.

    Args:
        steps: Optimizer steps (``trainer.global_step``, to which each of several optimizers adds one a batch). Of each,
            the first state at or beyond it is kept, under the step that it has.
        epochs: Epochs, counted from 1: 100 keeps the weights with which the hundredth epoch ended.

    Warns:
        UserWarning: At the end, of steps and epochs that the run did not reach.
        UserWarning: When a hook of the module fails that puts the weights of the validation in place: nothing is kept.

    Example:
        >>> KeepSteps(epochs=(100, 1000)).kept
        {}
    """

    steps: list[int]
    after_epochs: list[int]

    def __init__(self, steps: Sequence[int] = (), *, epochs: Sequence[int] = ()) -> None:
        if any(count < 1 for count in (*steps, *epochs)):
            raise InvalidArgumentError(f"steps and epochs count from 1, got {list(steps)} and {list(epochs)}.")
        self.steps = list(steps)
        self.after_epochs = list(epochs)
        self.kept: dict[int, dict[str, Tensor]] = {}
        """Weights by optimizer step, in float32 on the CPU."""
        self.epochs: dict[int, int] = {}
        """Epoch of each of these steps, counted from 1."""
        self._last_step = 0

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin without weights."""
        self.kept = {}
        self.epochs = {}
        move_after_averaging(trainer, self)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the step at which the run begins or is resumed."""
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Copy the weights if this step is one to keep, or the first beyond one."""
        before = self._last_step
        self._last_step = trainer.global_step
        if any(before < step <= self._last_step for step in self.steps):
            self._keep(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights if this epoch is one to keep."""
        if trainer.current_epoch + 1 in self.after_epochs:
            self._keep(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of steps and epochs that the run did not reach."""
        unreached = {
            "step": [step for step in self.steps if step > trainer.global_step],
            "epoch": [epoch for epoch in self.after_epochs if epoch > trainer.current_epoch],
        }
        for what, counts in unreached.items():
            if counts:
                later = " and later ones" if len(counts) > 1 else ""
                rank_zero_warn(
                    f"KeepSteps kept nothing of {what} {min(counts)}{later}: the run ended before, at step "
                    f"{trainer.global_step}, after {trainer.current_epoch} epochs."
                )

    def _keep(self, trainer: Trainer, module: LightningModule) -> None:
        # A step and the end of its epoch may both be asked for.
        step = trainer.global_step
        if step in self.kept:
            return
        try:
            with use_delivered_weights(trainer, module):
                self.kept[step] = {name: _copy(value) for name, value in module.state_dict().items()}
        except Exception as error:  # of a hook of the module
            rank_zero_warn(f"KeepSteps keeps nothing of step {step}, training goes on: {type(error).__name__}: {error}")
            return
        self.epochs[step] = trainer.current_epoch + 1

    def state_dict(self) -> dict[str, Any]:
        """Return the weights that were kept so far, and their epochs."""
        return {"kept": self.kept, "epochs": self.epochs}

    def resume(self, state: dict[str, Any]) -> None:
        """Resume with the weights that another run kept."""
        self.kept = state["kept"]
        self.epochs = state["epochs"]


def _copy(value: Tensor) -> Tensor:
    """Copy a parameter or buffer to the CPU; numbers become float32, as in the final weights of a checkpoint."""
    value = value.detach().cpu()
    return value.float().clone() if value.is_floating_point() else value.clone()
