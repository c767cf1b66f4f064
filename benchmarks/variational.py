"""A small convolutional variational autoencoder, built as those of latent diffusion models are."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention, silu


class Residual(nn.Module):
    """Two convolutions of normalised values beside a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, inside), nn.GroupNorm(8, outside)])
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.shortcut = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of feature maps."""
        y = self.first(silu(self.norms[0](x)))
        return self.shortcut(x) + self.second(silu(self.norms[1](y)))


class Attention(nn.Module):
    """One head of attention between all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of feature maps."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        found = scaled_dot_product_attention(*self.project(tokens).chunk(3, 2))
        return x + self.out(found).transpose(1, 2).reshape(x.shape)


class VariationalAutoencoder(nn.Module):
    """Encode 3x32x32 pixels to the mean of a code of 4x8x8 numbers, and decode that; while training, a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            Residual(16, 16),
            nn.Conv2d(16, 16, 3, 2, 1),
            Residual(16, 32),
            nn.Conv2d(32, 32, 3, 2, 1),
            Residual(32, 32),
            Attention(32),
            Residual(32, 32),
            nn.GroupNorm(8, 32),
            nn.SiLU(),
            nn.Conv2d(32, 8, 3, padding=1),
        )
        self.middle = nn.Sequential(nn.Conv2d(4, 32, 3, padding=1), Residual(32, 32), Attention(32), Residual(32, 32))
        self.high = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), Residual(32, 32), Residual(32, 32))
        self.full = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1),
            Residual(32, 16),
            Residual(16, 16),
            nn.GroupNorm(8, 16),
            nn.SiLU(),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a batch of images."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        code = mean + (log_variance / 2).exp() * torch.randn_like(mean) if self.training else mean
        small = self.high(interpolate(self.middle(code), scale_factor=2.0))
        return self.full(interpolate(small, scale_factor=2.0))
