"""The U-Net of Figure 1b of the paper."""

from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder, Initialisation, build_activation, initialise


class UNetConfig(ArchitectureConfig):
    """Configuration of :class:`UNet`."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 32, 32)
    filters: tuple[PositiveInt, ...] = Field(default=(32, 64, 128, 128, 128), min_length=1)
    """Filters of each level of the encoder; every level halves the side."""
    skip_side: NonNegativeInt = 8
    """Largest side at which a skip connection joins encoder and decoder; 0 for none. With skip connections up to full
    resolution the network passes its input through and recovers nothing."""
    activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    output: Literal["sigmoid", "linear"] = "sigmoid"
    """The sigmoid keeps outputs in (0, 1); with a linear output nothing was recovered."""
    bias: bool = True
    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(scheme="xavier_uniform")
    """Xavier weights and zero biases, which are trained."""

    @model_validator(mode="after")
    def _check_side(self) -> "UNetConfig":
        _, height, width = self.shape
        levels = len(self.filters)
        if height != width or height % 2**levels:
            raise InvalidArgumentError(
                f"{levels} levels halve the side of a square image {levels} times, so it must be divisible by "
                f"{2**levels}, got shape {self.shape}; crop or pad the image, or give fewer filters."
            )
        return self


class UNetLevels(nn.Module):
    """Apply the encoder, then the decoder, which takes in features of the encoder that have the same size."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels, side, _ = config.shape
        widths = [channels, *config.filters]
        self.activation: nn.Module = build_activation(config.activation)[0]
        self.down: nn.ModuleList = nn.ModuleList(
            nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=config.bias)
            for fan_in, fan_out in zip(widths, config.filters, strict=False)
        )
        # Level k has side / 2^k pixels a side; level 0 is the image itself, which is never joined.
        levels = range(len(config.filters))
        self.joined: list[bool] = [level > 0 and side >> level <= config.skip_side for level in levels]
        self.enlarge: nn.Upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.up: nn.ModuleList = nn.ModuleList()  # from the coarsest level to the image
        for level in reversed(levels):
            fan_in = widths[level + 1] + (widths[level] if self.joined[level] else 0)
            self.up.append(nn.Conv2d(fan_in, widths[level], 3, padding=1, bias=config.bias))
        self.output: nn.Module = nn.Sigmoid() if config.output == "sigmoid" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images to images of the same size."""
        levels = [x]
        for layer in self.down:
            levels.append(self.activation(layer(levels[-1])))
        y = levels.pop()
        for layer, joined in zip(self.up, reversed(self.joined), strict=True):
            y = self.enlarge(y)
            same_size = levels.pop()
            y = layer(torch.cat([y, same_size], 1) if joined else y)
            y = self.activation(y) if levels else y  # none after the last convolution
        return self.output(y)


@final
class UNet(Autoencoder[UNetConfig]):
    """Encode by 3x3 convolutions of stride 2, decode by nearest-neighbour upsampling and 3x3 convolutions, with skips.

    Our choice, as the paper does not describe its U-Net (Ronneberger, Fischer and Brox 2015): five levels from 32x32 to
    1x1. Each level of the decoder doubles the side, takes in the features of the encoder by concatenation where the
    side is at most ``skip_side``, and applies one convolution; an activation follows each convolution but the last. The
    image itself is never joined.

    Example:
        >>> model = UNet()
        >>> model(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """

    config_class: ClassVar[type[ArchitectureConfig]] = UNetConfig

    def build(self, config: UNetConfig) -> nn.Module:
        """Build the levels and initialise them."""
        net = UNetLevels(config)
        initialise(net, config.init)
        return net
