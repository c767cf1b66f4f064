"""The loss of the last optimizer step."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from memzoo.runs import Run


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
        # Lightning hands out the loss divided by the number of batches of one step
        self.put(loss.detach() * trainer.accumulate_grad_batches if module.automatic_optimization else loss)

    def put(self, loss: Tensor | float | None) -> None:
        """Keep this loss of one optimizer step."""
        self._loss = None if loss is None else torch.as_tensor(loss).detach()

    def average(self, run: Run) -> float | None:
        """Return the mean over all processes, None if the last step had no loss."""
        if self._loss is None:
            return None
        # The strategy reduces in place, and the tensor may be one that the module still uses.
        return float(run.strategy.reduce(self._loss.clone(), reduce_op="mean"))
