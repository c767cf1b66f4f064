"""Measure an autoencoder of your own: a plain PyTorch network in a plain LightningModule; memzoo only watches.

python examples/own_autoencoder.py
"""

from itertools import pairwise

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from memzoo.callbacks import AttractorCallback, StopWhenMemorized
from memzoo.data import full_batches, mnist20


class Yours(LightningModule):
    """Define a network and its training; nothing in this class knows of memzoo."""

    def __init__(self) -> None:
        super().__init__()
        widths = [784, 128, 128, 128, 128, 128, 784]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            linear = nn.Linear(fan_in, fan_out)
            nn.init.xavier_uniform_(linear.weight)  # networks contract from Xavier weights ...
            nn.init.zeros_(linear.bias)  # ... and biases that start at zero
            layers += [linear, nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images."""
        return self.net(x.flatten(1)).reshape(x.shape)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the squared error."""
        return nn.functional.mse_loss(self(batch[0]), batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(epochs: int = 60, folder: str = "own-autoencoder") -> AttractorCallback:
    """Train until the images are memorized, 50 full-batch steps an epoch, and keep the best checkpoint."""
    torch.manual_seed(0)
    images, held_out = (selection.pixels() for selection in mnist20())
    watch = AttractorCallback(starts=held_out[:200])
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[
            watch,
            StopWhenMemorized(1.0, measurements=2),
            ModelCheckpoint(folder, monitor="attractor/recovered", mode="max", save_last=True, every_n_epochs=10),
        ],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Yours(), full_batches(images, steps_per_epoch=50))
    print(watch.examples_table())
    return watch


if __name__ == "__main__":
    main()
