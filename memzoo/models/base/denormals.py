"""Flush denormal numbers to zero while training, and only then."""

from typing import final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


@final
class FlushDenormals(Callback):
    """Near convergence denormals slow the CPU more than tenfold; the mode is put back however the fit ends."""

    before: bool | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the mode of the process, then flush."""
        self.before = flushes_denormals()
        torch.set_flush_denormal(True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the mode back."""
        if self.before is not None:
            torch.set_flush_denormal(self.before)
            self.before = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the mode back after a failure or an interruption."""
        self.on_fit_end(trainer, pl_module)


def flushes_denormals() -> bool:
    """PyTorch can set the mode but not tell it, so look at what becomes of a denormal."""
    return bool((torch.tensor(1e-310, dtype=torch.float64) * 1 == 0).item())
