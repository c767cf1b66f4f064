"""A module of somebody's own that draws random numbers in training, and a callback that ends a run like a power cut."""

import os
import random
import signal

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn


class DropoutNet(LightningModule):
    def __init__(self, width: int = 16, p: float = 0.2):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Dropout(p), nn.Linear(width, 784), nn.Sigmoid()
        )

    def forward(self, x):
        return self.net(x).view_as(x)

    def training_step(self, batch, batch_idx):
        x = batch[0]
        noise = random.random() + np.random.random()  # all generators matter  # noqa: NPY002
        loss = nn.functional.mse_loss(self(x + 0.01 * noise * torch.randn_like(x)), x)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class ValidatedNet(DropoutNet):
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", nn.functional.mse_loss(self(batch[0]), batch[0]))


class KillAt(Callback):
    def __init__(self, step: int, epoch_end: bool = False):
        self.step = step
        self.epoch_end = epoch_end

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and not self.epoch_end:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.global_step == self.step and self.epoch_end:
            os.kill(os.getpid(), signal.SIGKILL)


class TwoPoints(LightningModule):
    """Two points of the plane become attractors within some dozens of steps."""

    def __init__(self, broken: bool = False):
        super().__init__()
        self.save_hyperparameters()
        self.broken = broken
        self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        if self.broken:
            raise IndexError("theirs")
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        return nn.functional.mse_loss(self(x), x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)
