"""Small autoencoders of other packages, each with the map that memzoo has to find, written by hand."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import memzoo

Reference = Callable[[Any, Tensor], Tensor]
IMAGE = (3, 8, 8)


@dataclass(frozen=True)
class OtherAutoencoder:
    """A module of another package."""

    package: str
    build: Callable[[], nn.Module]
    reference: Reference
    """The map in the words of its own package."""
    shape: tuple[int, ...] = IMAGE
    map: Callable[[nn.Module], nn.Module] = lambda module: module
    """What is handed to memzoo: the module itself, unless it is no autoencoder."""
    warns: str | None = None
    """What memzoo warns of, where forward draws at random."""
    stairs: bool = False
    """Whether the code is rounded, so that the map is constant between jumps."""
    decided: bool = True
    """Whether the spectrum is known: not where rounding in float32 hides that a derivative is not that of the map."""
    steps: int = 40
    """Steps of the training; 0 where it cannot be trained."""


def take_sample(module: Any, x: Tensor) -> Tensor:
    return module(x).sample


def take_first(module: Any, x: Tensor) -> Tensor:
    return module(x)[0]


# diffusers

BLOCKS = {"in_channels": 3, "out_channels": 3, "block_out_channels": (8, 8), "norm_num_groups": 4}
DOWN = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}


def build_diffusers_kl() -> nn.Module:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**BLOCKS, **DOWN, latent_channels=2)


def build_diffusers_tiny() -> nn.Module:
    from diffusers import AutoencoderTiny

    channels = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8), "latent_channels": 2}
    return AutoencoderTiny(**channels, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))


def build_diffusers_vq() -> nn.Module:
    from diffusers import VQModel

    return VQModel(**BLOCKS, **DOWN, latent_channels=2, num_vq_embeddings=16)


def build_diffusers_unet() -> nn.Module:
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")}
    return UNet2DModel(sample_size=8, **BLOCKS, **blocks, layers_per_block=1, attention_head_dim=4)


SIGMA = 0.5


def denoise(module: Any, x: Tensor) -> Tensor:
    """Denoise by the formula for a network that predicts the noise, at the time of this level."""
    time, scale = _find_time()
    return x - SIGMA * module(x * scale, time).sample


def make_denoiser(module: nn.Module) -> nn.Module:
    from diffusers import DDPMScheduler

    return memzoo.denoiser(module, SIGMA, DDPMScheduler())


@cache
def _find_time() -> tuple[Tensor, float]:
    """Find by bisection where the interpolated level of noise is the wanted one, and the scale of the image there."""
    from diffusers import DDPMScheduler

    alphas = DDPMScheduler().alphas_cumprod.double()
    levels = ((1 - alphas) / alphas).sqrt().log()
    low, high = 0.0, len(levels) - 1.0
    for _ in range(60):
        middle = (low + high) / 2
        below = int(middle)
        level = levels[below] + (middle - below) * (levels[min(below + 1, len(levels) - 1)] - levels[below])
        low, high = (middle, high) if level.exp() < SIGMA else (low, middle)
    return torch.tensor(low), (1 + SIGMA**2) ** -0.5


# MONAI


MONAI_KL: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [8, 8],
    "num_res_blocks": 1,
}
MONAI_KL |= {"attention_levels": [False, False], "latent_channels": 2, "norm_num_groups": 4}


def build_monai_kl() -> nn.Module:
    from monai.networks.nets import AutoencoderKL

    return AutoencoderKL(**MONAI_KL)


def decode_monai_mean(module: Any, x: Tensor) -> Tensor:
    mean, _ = module.encode(x)
    return module.decode(mean)


MONAI_VQ: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [8, 8],
    "num_res_layers": 1,
}
MONAI_VQ |= {"num_res_channels": [8, 8], "num_embeddings": 16, "embedding_dim": 4}
MONAI_VQ |= {"downsample_parameters": [[2, 4, 1, 1], [1, 3, 1, 1]]}
MONAI_VQ |= {"upsample_parameters": [[1, 3, 1, 1, 0], [2, 4, 1, 1, 0]]}


def build_monai_vqvae() -> nn.Module:
    from monai.networks.nets import VQVAE

    return VQVAE(**MONAI_VQ)


# transformers


def build_mae() -> nn.Module:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        image_size=8,
        patch_size=2,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
        mask_ratio=0.5,
    )
    return ViTMAEForPreTraining(config)


def reconstruct_masked(module: Any, x: Tensor) -> Tensor:
    noise = ((torch.arange(1, 17, dtype=torch.float64) * (5**0.5 - 1) / 2) % 1).float()
    return module.unpatchify(module(x, noise=noise.expand(len(x), -1)).logits)


# pythae


def build_pythae(name: str) -> nn.Module:
    from pythae import models

    config = {"AE": models.AEConfig, "VAE": models.VAEConfig, "VQVAE": models.VQVAEConfig}[name]
    return getattr(models, name)(config(input_dim=(1, 4, 4), latent_dim=3))


def reconstruct_pythae(module: Any, x: Tensor) -> Tensor:
    return module.decoder(module.encoder(x).embedding).reconstruction


def reconstruct_pythae_vq(module: Any, x: Tensor) -> Tensor:
    return module({"data": x}).recon_x


# torchvision and timm


def build_segmentation() -> nn.Module:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)


class TimmWithDecoder(nn.Module):
    """An encoder of timm with a decoder, which returns the features beside the image."""

    def __init__(self) -> None:
        import timm

        super().__init__()
        options = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
        self.encoder = timm.create_model("vit_tiny_patch16_224", pretrained=False, **options)
        self.decoder = nn.Linear(16, 192)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.encoder(x)
        return {"features": features, "image": self.decoder(features).reshape(x.shape)}


# Forms of torch


class Plain(nn.Module):
    """An autoencoder that returns its code beside the reconstruction."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(12, 4)
        self.decoder = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = torch.tanh(self.encoder(x))
        return self.decoder(code), code


def export() -> nn.Module:
    rows = torch.export.Dim("rows", min=1, max=4096)
    return torch.export.export(Plain().eval(), (torch.rand(2, 12),), dynamic_shapes=({0: rows},)).module()


POSTERIOR = "draws its code at random; it is measured at the mode of its posterior"
MASK = "draws a mask at random; it is measured with one fixed mask"
OTHERS: dict[str, OtherAutoencoder] = {
    "diffusers.AutoencoderKL": OtherAutoencoder("diffusers", build_diffusers_kl, take_sample),
    "diffusers.AutoencoderTiny": OtherAutoencoder("diffusers", build_diffusers_tiny, take_sample, stairs=True),
    "diffusers.VQModel": OtherAutoencoder("diffusers", build_diffusers_vq, take_sample, stairs=True),
    "diffusers.UNet2DModel": OtherAutoencoder("diffusers", build_diffusers_unet, denoise, map=make_denoiser),
    "monai.networks.nets.AutoencoderKL": OtherAutoencoder(
        "monai", build_monai_kl, decode_monai_mean, shape=(1, 8, 8), warns=POSTERIOR
    ),
    "monai.networks.nets.VQVAE": OtherAutoencoder(
        "monai", build_monai_vqvae, take_first, shape=(1, 8, 8), stairs=True, decided=False
    ),
    "transformers.ViTMAEForPreTraining": OtherAutoencoder(
        "transformers",
        build_mae,
        reconstruct_masked,
        warns=MASK,
    ),
    "pythae.models.AE": OtherAutoencoder("pythae", lambda: build_pythae("AE"), reconstruct_pythae, shape=(1, 4, 4)),
    "pythae.models.VAE": OtherAutoencoder(
        "pythae", lambda: build_pythae("VAE"), reconstruct_pythae, shape=(1, 4, 4), warns=POSTERIOR
    ),
    "pythae.models.VQVAE": OtherAutoencoder(
        "pythae", lambda: build_pythae("VQVAE"), reconstruct_pythae_vq, shape=(1, 4, 4), stairs=True
    ),
    "torchvision segmentation": OtherAutoencoder(
        "torchvision", build_segmentation, lambda module, x: module(x)["out"], steps=3
    ),
    "timm with a decoder": OtherAutoencoder("timm", TimmWithDecoder, lambda module, x: module(x)["image"]),
    "torch.export": OtherAutoencoder("torch", export, take_first, shape=(12,), steps=0),
    "torch.compile": OtherAutoencoder(
        "torch", lambda: torch.compile(Plain(), backend="eager"), take_first, shape=(12,)
    ),
    "torch.jit.script": OtherAutoencoder("torch", lambda: torch.jit.script(Plain()), take_first, shape=(12,)),
}


@cache
def train_other(name: str) -> tuple[dict[str, Tensor], Tensor]:
    """Train a module a little on four images, and return its state; skip the test where its package is missing."""
    other = OTHERS[name]
    pytest.importorskip(other.package)
    torch.manual_seed(0)
    module = build_other(other)
    images = torch.rand(4, *other.shape, generator=torch.Generator().manual_seed(1))
    if other.steps:
        optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
        for _ in range(other.steps):
            optimizer.zero_grad()
            (other.reference(module, images) - images).square().mean().backward()
            optimizer.step()
    return module.state_dict(), images


def build_other(other: OtherAutoencoder, state: dict[str, Tensor] | None = None) -> nn.Module:
    """Build a module anew, in eval mode if it is given its state."""
    with warnings.catch_warnings():  # what packages warn of is theirs
        warnings.simplefilter("ignore")
        module = other.build()
    if state is not None:
        module.load_state_dict(state)
    return module.eval() if state is not None and other.steps else module


def differentiate_by_differences(reference: Callable[[Tensor], Tensor], x: Tensor, step: float) -> Tensor:
    """Compute the Jacobian at one point (1, *shape) by central differences of the reference in the type of the point.

    The step is small, because networks with ReLU have kinks everywhere.
    """
    steps = step * torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape[1:])
    with torch.no_grad():
        rows = torch.cat([(reference(x + part) - reference(x - part)).flatten(1) for part in steps.split(64)])
    return rows.T / (2 * step)


def compute_radius_by_differences(other: OtherAutoencoder, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Compute the spectral radius at each point by central differences of the reference.

    That is done in float64; where the code is rounded, in float32, in which the output does not change at all.
    """
    module = build_other(other, state)
    x = x.float() if other.stairs else x.double()
    module = module if other.stairs else module.double()
    step = 1e-4 if other.stairs else 1e-8
    jacobians = [differentiate_by_differences(lambda y: other.reference(module, y), row[None], step) for row in x]
    return torch.stack([torch.linalg.eigvals(jacobian).abs().max() for jacobian in jacobians]).double()
