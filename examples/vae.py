"""Measure a variational autoencoder, whose forward draws its code at random: self_map= says which map to iterate.

Without ``self_map`` the callbacks decode the mean of the code as well, and say so.

python examples/vae.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.data import mnist20


class ConvolutionalVAE(LightningModule):
    """Define a variational autoencoder as such networks are usually written."""

    def __init__(self, latent: int = 32, beta: float = 1e-4) -> None:
        super().__init__()
        self.beta = beta
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ELU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32 * 7 * 7),
            nn.Unflatten(1, (32, 7, 7)),
            nn.ELU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.ELU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction from a random code, and the mean and log variance of the codes."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(code), mean, log_variance

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the negative evidence lower bound, up to constants."""
        (images,) = batch
        found, mean, log_variance = self(images)
        # the divergence of a Gaussian code from the standard Gaussian, summed over its coordinates
        divergences = (mean.square() + log_variance.exp() - log_variance - 1) / 2
        divergence = divergences.sum(1).mean()
        error = nn.functional.mse_loss(found, images)
        return error + self.beta * divergence / images[0].numel()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def reconstruct_mean(module: nn.Module, x: Tensor) -> Tensor:
    """Return the reconstruction without its noise: decode the mean of the code."""
    assert isinstance(module, ConvolutionalVAE)
    mean, _ = module.encoder(x).chunk(2, dim=1)
    return module.decoder(mean)


def main(epochs: int = 1500) -> AttractorCallback:
    """Train on 20 images, and measure the map that decodes the mean of the code."""
    torch.manual_seed(0)
    images, held_out = (selection.pixels() for selection in mnist20())
    attractors = AttractorCallback(starts=held_out[:200], self_map=reconstruct_mean)
    contraction = ContractionCallback(self_map=reconstruct_mean)
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[attractors, contraction],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ConvolutionalVAE(), DataLoader(TensorDataset(images), batch_size=20))
    print(attractors.table(), contraction.table(), sep="\n\n")
    return attractors


if __name__ == "__main__":
    main()
