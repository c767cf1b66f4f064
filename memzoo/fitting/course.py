"""Record the course of the loss, and keep it with the checkpoints of a run."""

from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from memzoo.runs import FitCallback

RATIO = 1.1
"""Ratio of the steps of two successive entries."""


@final
class LossCourse(FitCallback):
    """Record (step, loss before it) at geometrically spaced optimizer steps; a resumed run continues the record."""

    def __init__(self) -> None:
        self.course: list[tuple[int, float]] = []

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the entries of an earlier run."""
        self.course = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the loss if an entry is due."""
        step = trainer.global_step - 1
        last = self.course[-1][0] if self.course else -1
        if step < max(last + 1, last * RATIO):
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            # Lightning returns the loss divided by the number of batches that it accumulates.
            share = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            self.course.append((step, loss.item() * share))

    def state_dict(self) -> dict[str, Any]:
        """Return the course as plain numbers."""
        return {"course": [list(entry) for entry in self.course]}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue the course of a checkpoint."""
        self.course = [(int(step), float(loss)) for step, loss in state["course"]]
