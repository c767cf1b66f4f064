"""The loss of the last optimizer step."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor


class StepLoss:
    """Keep the loss of the last step on its device: reading it at every step would wait for a GPU."""

    def __init__(self) -> None:
        self._loss: Tensor | None = None

    def keep(self, outputs: Any, trainer: Trainer, module: LightningModule) -> None:
        """Keep the loss among the outputs of a training step; if there is none, forget the last one."""
        loss: Any = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            self._loss = None
            return
        self._loss = loss.detach()
        if module.automatic_optimization:
            # Lightning hands out the loss divided by the number of batches of one step
            self._loss = self._loss * trainer.accumulate_grad_batches

    def average(self, trainer: Trainer) -> float | None:
        """Return the mean over all processes, None if the last step had no loss."""
        if self._loss is None:
            return None
        # The strategy reduces in place, and the tensor may be one that the module still uses.
        return float(trainer.strategy.reduce(self._loss.clone(), reduce_op="mean"))
