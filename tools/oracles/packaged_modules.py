"""Collect modules of packages; a package that is not installed is left out, and named."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

from tools.oracles.foreign_modules import DIM, Around, ForeignModule

IMAGE = (3, 8, 8)
"""Shape of the images of most modules: large enough for two strides, small enough for differences."""


def _load(name: str) -> Any:
    """Import a class by its path ``package.module:Name``; a type checker need not have the package."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class _Quantised(nn.Module):
    """Put a quantiser of a package between an encoder and a decoder."""

    def __init__(self, quantiser: nn.Module, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = nn.Linear(DIM, size)
        self.quantiser = quantiser
        self.decoder = nn.Linear(size, DIM)
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        code = self.quantiser(self.encoder(x).reshape(len(x), *self.shape))[0]
        return self.decoder(code.reshape(len(x), -1))


# torchvision


def _make_segmentation() -> ForeignModule:
    module = _load("torchvision.models.segmentation:lraspp_mobilenet_v3_large")
    network = module(weights=None, weights_backbone=None, num_classes=3)
    return ForeignModule(network.eval(), IMAGE, call=lambda module, x: module(x)["out"])


def _make_convnext() -> ForeignModule:
    return ForeignModule(_load("torchvision.models.convnext:CNBlock")(4, 0.5, 0.0).eval(), (4, 4, 4))


def _make_residual() -> ForeignModule:
    return ForeignModule(_load("torchvision.models.resnet:BasicBlock")(3, 3).eval(), IMAGE)


def _make_swin() -> ForeignModule:
    block = _load("torchvision.models.swin_transformer:SwinTransformerBlock")
    return ForeignModule(block(8, 2, window_size=[2, 2], shift_size=[1, 1]).eval(), (4, 4, 8))


def _make_stochastic_depth() -> ForeignModule:
    """Make a block that drops its branch at random, in training mode."""
    return ForeignModule(
        _load("torchvision.models.convnext:CNBlock")(4, 1.0, 0.5).train(), (4, 4, 4), is_map=False, is_map_in_eval=True
    )


# timm


def _make_timm_block(**options: Any) -> ForeignModule:
    block = _load("timm.models.vision_transformer:Block")(8, 2, **options)
    return ForeignModule(block.eval(), (4, 8))


def _make_timm_vit(*, checkpointing: bool) -> ForeignModule:
    """Make a vision transformer whose classes are the pixels."""
    build = _load("timm.models.vision_transformer:VisionTransformer")
    pixels = IMAGE[0] * IMAGE[1] * IMAGE[2]
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    module = build(**options, num_classes=pixels, global_pool="avg").eval()
    module.set_grad_checkpointing(checkpointing)
    return ForeignModule(module, IMAGE, call=lambda module, x: module(x).reshape(x.shape))


def _make_timm_convnext() -> ForeignModule:
    return ForeignModule(_load("timm.models.convnext:ConvNeXtBlock")(4, kernel_size=3).eval(), (4, 4, 4))


def _make_timm_mixer() -> ForeignModule:
    return ForeignModule(_load("timm.models.mlp_mixer:MixerBlock")(8, 4).eval(), (4, 8))


# diffusers


DIFFUSERS = {"in_channels": 3, "out_channels": 3, "block_out_channels": (8,), "norm_num_groups": 4}


def _make_variational() -> ForeignModule:
    build = _load("diffusers:AutoencoderKL")
    return ForeignModule(build(**DIFFUSERS, latent_channels=2).eval(), IMAGE, call=lambda module, x: module(x).sample)


def _make_sampled() -> ForeignModule:
    build = _load("diffusers:AutoencoderKL")
    return ForeignModule(
        build(**DIFFUSERS, latent_channels=2).eval(),
        IMAGE,
        call=lambda module, x: module(x, sample_posterior=True).sample,
        is_map=False,
    )


def _make_vq_model() -> ForeignModule:
    build = _load("diffusers:VQModel")
    module = build(**DIFFUSERS, latent_channels=2, num_vq_embeddings=16).eval()
    return ForeignModule(module, IMAGE, call=lambda module, x: module(x).sample)


def _make_tiny() -> ForeignModule:
    build = _load("diffusers:AutoencoderTiny")
    options = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8), "latent_channels": 2}
    module = build(**options, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)).eval()
    return ForeignModule(module, IMAGE, call=lambda module, x: module(x).sample)


def _make_diffusers_quantiser() -> ForeignModule:
    build = _load("diffusers.models.autoencoders.vae:VectorQuantizer")
    return ForeignModule(_Quantised(build(16, 4, beta=0.25, legacy=False), 8, (4, 2, 1)).eval())


# vector-quantize-pytorch


def _make_quantiser(name: str, shape: tuple[int, ...], **options: Any) -> ForeignModule:
    quantiser = _load(f"vector_quantize_pytorch:{name}")(**options)
    return ForeignModule(_Quantised(quantiser, shape[0] * shape[1], shape).eval())


def _make_sequential_checkpoint() -> ForeignModule:
    """Make layers that torch itself runs with checkpointing."""
    layers = nn.Sequential(nn.Linear(DIM, DIM), nn.Tanh(), nn.Linear(DIM, DIM), nn.Tanh())
    return ForeignModule(
        Around(lambda module, a: checkpoint_sequential(module.layers, 2, a, use_reentrant=False), layers=layers)
    )


PACKAGED: dict[str, Callable[[], ForeignModule]] = {
    "torch: checkpoint_sequential": _make_sequential_checkpoint,
    "torchvision: LR-ASPP": _make_segmentation,
    "torchvision: ConvNeXt block": _make_convnext,
    "torchvision: ResNet block": _make_residual,
    "torchvision: Swin block": _make_swin,
    "torchvision: stochastic depth": _make_stochastic_depth,
    "timm: ViT block": _make_timm_block,
    "timm: ViT block, layer scale": lambda: _make_timm_block(init_values=0.1, qk_norm=True),
    "timm: ViT": lambda: _make_timm_vit(checkpointing=False),
    "timm: ViT, checkpointing": lambda: _make_timm_vit(checkpointing=True),
    "timm: ConvNeXt block": _make_timm_convnext,
    "timm: mixer block": _make_timm_mixer,
    "diffusers: AutoencoderKL": _make_variational,
    "diffusers: AutoencoderKL, sampled": _make_sampled,
    "diffusers: VQModel": _make_vq_model,
    "diffusers: AutoencoderTiny": _make_tiny,
    "diffusers: VectorQuantizer": _make_diffusers_quantiser,
    "vector_quantize_pytorch: VectorQuantize": lambda: _make_quantiser(
        "VectorQuantize", (1, 8), dim=8, codebook_size=16
    ),
    "vector_quantize_pytorch: k-means at first call": lambda: _make_quantiser(
        "VectorQuantize", (1, 8), dim=8, codebook_size=4, kmeans_init=True
    ),
    "vector_quantize_pytorch: ResidualVQ": lambda: _make_quantiser(
        "ResidualVQ", (1, 8), dim=8, codebook_size=16, num_quantizers=2
    ),
    "vector_quantize_pytorch: FSQ": lambda: _make_quantiser("FSQ", (1, 4), levels=[5, 5, 5, 5]),
    "vector_quantize_pytorch: LFQ": lambda: _make_quantiser("LFQ", (1, 4), codebook_size=16, dim=4),
}


def list_missing_packages() -> set[str]:
    """List the packages of this table that are not installed."""
    return {name for name in (key.partition(":")[0] for key in PACKAGED) if find_spec(name) is None}
