"""Autoencoders whose encoder is a backbone of timm, with a light decoder.

They show whether the findings of the paper carry over to modern networks, which the paper itself does not study.
"""

import difflib
from typing import Annotated, Any, ClassVar, Literal, cast, final

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt, field_validator, model_validator
from torch import Tensor, nn

from memzoo._attempt import is_out_of_memory
from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder, Initialisation, initialise

FILE_OPTIONS = {
    "cache_dir",
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "pretrained_custom_load",
    "pretrained_filter_fn",
    "pretrained_model_args",
    "pretrained_strict",
}
"""Options that would make timm open files or addresses, some of them as pickles."""


class TimmAutoencoderConfig(ArchitectureConfig):
    """Configuration of :class:`TimmAutoencoder`."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 32, 32)
    backbone: str = "resnet18"
    """Name of a model of timm that gives feature maps, see ``timm.list_models()``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of ``timm.create_model``, as JSON, e.g. ``{"patch_size": 4}``; they overrule the defaults."""
    pretrained: bool = False
    """Whether to start from timm's weights. They are fetched whenever the model is built, so store a trained model with
    False: its own weights replace them."""
    norm: Literal["fixed", "as_is"] = "fixed"
    """What becomes of batch normalisation. ``fixed``: each layer normalises by its stored statistics, in training too
    (mean 0 and variance 1, or those of the pretrained weights); scale and shift are trained. ``as_is``: the layer
    trains on the statistics of the batch, so that the function that is trained differs from the one that is measured,
    in eval mode."""
    filters: PositiveInt = 64
    """Filters of the decoder's convolutions."""
    output: Literal["sigmoid", "linear"] = "sigmoid"
    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(scheme="xavier_uniform")
    """Initial values of the decoder; the backbone starts as timm starts it."""

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, name: str) -> str:
        import timm

        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), 3)
            advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "timm.list_models() names them all."
            raise InvalidArgumentError(f"timm has no model {name!r}; {advice}")
        return name

    @field_validator("options")
    @classmethod
    def _refuse_file_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        opened = sorted(options.keys() & FILE_OPTIONS)
        if opened:
            raise InvalidArgumentError(
                f"{', '.join(opened)} would open files or addresses, which a configuration must not; weights come by "
                "pretrained=True from timm, or from a checkpoint"
            )
        return options

    @model_validator(mode="after")
    def _check_square(self) -> "TimmAutoencoderConfig":
        if self.shape[1] != self.shape[2]:
            raise InvalidArgumentError(f"TimmAutoencoder maps square images, got shape {self.shape}; crop or pad them.")
        return self


class FixedNorm(nn.Module):
    """Normalise by the stored statistics of a batch normalisation alone, in training as in eval mode.

    This is an affine map of each channel. It replaces ``norm`` and takes over its parameters, its statistics, and the
    activation that timm may have fused to it.
    """

    running_mean: Tensor
    running_var: Tensor
    weight: nn.Parameter
    bias: nn.Parameter
    eps: float

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise InvalidArgumentError(
                "batch normalisation without stored statistics cannot be fixed; build it with them."
            )
        self.weight = norm.weight
        self.bias = norm.bias
        self.eps = norm.eps
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self.drop: nn.Module = getattr(norm, "drop", nn.Identity())
        self.act: nn.Module = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, scale and shift, then apply the fused activation."""
        y = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
        return self.act(self.drop(y))


def fix_norms(module: nn.Module) -> None:
    """Replace every batch normalisation inside ``module`` by :class:`FixedNorm`, in place."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, FixedNorm(child))
        else:
            fix_norms(child)


class Standardise(nn.Module):
    """Map pixels in [0, 1] to the scale that the backbone's weights were trained on."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Centre and scale every channel."""
        return (x - self.mean) / self.std


class LastFeatures(nn.Module):
    """Compute the last feature map (B, C, h, w) of a backbone; the tokens of a transformer come back as a grid."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        info: Any = backbone.feature_info
        self.channels: int = info.channels()[-1]

    def forward(self, x: Tensor) -> Float[Tensor, "batch channels height width"]:
        """Compute the features of a batch of images."""
        y = self.backbone(x)[-1]
        # Some backbones keep channels last.
        return y if y.shape[1] == self.channels else y.permute(0, 3, 1, 2)


@final
class TimmAutoencoder(Autoencoder[TimmAutoencoderConfig]):
    """Encode by a backbone of timm, and decode by nearest-neighbour upsampling and 3x3 convolutions.

    The encoder ends at the last feature map of the backbone (ResNet-18: 1x1 for a 32x32 image; ViT: its patches as a
    grid, without the class token). Each decoder stage doubles the side, up to the image's, and applies a convolution
    of ``filters`` filters and a leaky ReLU; a last convolution goes to the image's channels, then ``output``. Dropout
    and stochastic depth are off, as timm has them by default.

    The paper has no such network. Attention is computed by plain matrix products instead of fused kernels, through
    which forward differentiation cannot pass on the CPU.

    Example:
        >>> model = TimmAutoencoder(backbone="test_resnet", filters=8)
        >>> model(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """

    config_class: ClassVar[type[ArchitectureConfig]] = TimmAutoencoderConfig

    def build(self, config: TimmAutoencoderConfig) -> nn.Module:
        """Build standardisation, backbone, decoder and output in one chain."""
        channels, side, _ = config.shape
        features = LastFeatures(build_backbone(config)).eval()
        # Only a forward pass tells the size of the feature map; eval mode keeps it from changing any statistics.
        with torch.no_grad():
            _, width, grid, _ = features(torch.zeros(1, *config.shape)).shape
        features.train()
        decoder = nn.Sequential()
        while grid < side:
            grid = min(2 * grid, side)
            decoder.append(nn.Upsample(size=(grid, grid), mode="nearest"))
            decoder.append(nn.Conv2d(width, config.filters, 3, padding=1))
            decoder.append(nn.LeakyReLU())
            width = config.filters
        decoder.append(nn.Conv2d(width, channels, 3, padding=1))
        if config.output == "sigmoid":
            decoder.append(nn.Sigmoid())
        initialise(decoder, config.init)
        return nn.Sequential(build_standardisation(config), features, *decoder)


def build_backbone(config: TimmAutoencoderConfig) -> nn.Module:
    """Build the backbone as a network of feature maps, the last one only.

    Raises:
        ValueError: The backbone cannot be built at this size, or gives no feature maps.
    """
    import timm

    known: Any = timm.get_pretrained_cfg(config.backbone)
    size = {"img_size": config.shape[1]} if known is not None and known.fixed_input_size else {}
    options = {"in_chans": config.shape[0], "out_indices": (-1,), **size, **config.options}
    try:
        net = timm.create_model(config.backbone, pretrained=config.pretrained, features_only=True, **options)
    # The code of timm raises errors of many types for options that it does not know.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InvalidArgumentError(
            f"timm could not build {config.backbone!r} as a network of feature maps with {options}: {error} "
            "Change `options` or `shape`, or take another backbone."
        ) from error
    # Forward differentiation cannot pass through fused attention on the CPU.
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            cast(Any, module).fused_attn = False
    if config.norm == "fixed":
        fix_norms(net)
    return net


def build_standardisation(config: TimmAutoencoderConfig) -> nn.Module:
    """Build the standardisation by the mean and deviation that timm states for the backbone.

    It is the identity where timm states none, or states them for another number of channels.
    """
    import timm

    known: Any = timm.get_pretrained_cfg(config.backbone)
    if known is None or len(known.mean) != config.shape[0]:
        return nn.Identity()
    return Standardise(known.mean, known.std)
