"""The network D1 of the paper's supplement (Figure 7), which Figures 5b, 6 and 12 use as well."""

from typing import Annotated, Any, ClassVar, Literal, final

from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder, Initialisation, build_activation, initialise


class D1Config(ArchitectureConfig):
    """Configuration of :class:`D1`."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 32, 32)
    filters: PositiveInt = 128
    activation: Literal["linear", "leaky_relu"] = "linear"
    output: Literal["linear", "sigmoid"] = "linear"
    """A sigmoid keeps outputs in (0, 1), so that no orbit diverges."""
    bias: bool = False
    """False for the linear network: with biases the map is affine and its second eigenvalue falls far below 1."""
    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(scheme="default")

    @model_serializer(mode="wrap")
    def _leave_out_linear_output(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the linear output, so that cards and files of earlier versions stay as they are."""
        written = write(self)
        if self.output == "linear":
            written.pop("output", None)
        return written

    @model_validator(mode="after")
    def _check_side(self) -> "D1Config":
        _, height, width = self.shape
        # A power of 2 has one bit, so that subtracting 1 leaves no bit in common.
        if height != width or height < 2 or height & (height - 1):
            raise InvalidArgumentError(
                f"D1 halves a square image to 1x1, so the side must be a power of 2, got {self.shape}"
            )
        return self


@final
class D1(Autoencoder[D1Config]):
    """Downsample by 3x3 convolutions of stride 2 to 1x1, and return by nearest-neighbour upsampling.

    Our reading of the paper's drawing: 32x32 goes to 1x1 in five convolutions with zero padding 1; each of five decoder
    stages doubles the side by nearest-neighbour upsampling and applies a 3x3 convolution of stride 1. All convolutions
    but the last have ``filters`` filters; a leaky ReLU, if there is one, follows each convolution but the last, and a
    sigmoid, if there is one, the last.

    Example:
        >>> sum(p.numel() for p in D1().parameters())
        1186560
    """

    config_class: ClassVar[type[ArchitectureConfig]] = D1Config

    def build(self, config: D1Config) -> nn.Sequential:
        """Build the encoder stages, then the decoder stages, in one chain."""
        channels, side, _ = config.shape
        stages = side.bit_length() - 1  # log2 of the side
        layers: list[nn.Module] = []
        fan_in = channels
        # the encoder: each stage halves the side
        for _ in range(stages):
            layers.append(nn.Conv2d(fan_in, config.filters, 3, stride=2, padding=1, bias=config.bias))
            layers += build_activation(config.activation)
            fan_in = config.filters
        # the decoder: each stage doubles the side
        for stage in range(stages):
            last = stage == stages - 1
            fan_out = channels if last else config.filters
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            layers.append(nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=config.bias))
            layers += build_activation(config.output if last else config.activation)
        net = nn.Sequential(*layers)
        initialise(net, config.init)
        return net
