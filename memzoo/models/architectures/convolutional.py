"""Stacks of convolutions at the full size of the image, for Tables 1 and 2 and Figures 9 and 10 of the paper."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, cast, final

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder, Initialisation, build_activation, initialise


class ConvAutoencoderConfig(ArchitectureConfig):
    """Configuration of :class:`ConvAutoencoder`."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 4, 4)
    layers: PositiveInt = 29
    filters: PositiveInt = 1
    """Filters of every layer but the last, which has one for each channel of the image."""
    kernel: PositiveInt = 3
    """Side of the filters, odd; zero padding keeps the size of the image."""
    activation: Literal["linear", "leaky_relu", "relu"] = "linear"
    activate_last: bool = True
    """Whether an activation follows the last layer too: the paper has one "per layer"."""
    skip: PositiveInt | None = None
    """Layers in a block with a skip connection; None for no skip connections."""
    skip_from: NonNegativeInt = 0
    """Layers before the first block, without skip connections. With 0 a linear network of small weights starts near the
    identity, where nothing is left to learn; with more it starts near zero."""
    bias: bool | None = None
    """When left out, layers have biases where there is an activation. Without biases a leaky ReLU network has the
    eigenvalue 1 at every fixed point but zero; with them a linear network is affine, and its spectrum is no longer that
    of a projection."""
    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(scheme="xavier_uniform")

    @model_validator(mode="before")
    @classmethod
    def _derive_bias(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("bias") is None:
            return {**data, "bias": data.get("activation", "linear") != "linear"}
        return data

    @model_validator(mode="after")
    def _check_sizes(self) -> "ConvAutoencoderConfig":
        if self.kernel % 2 == 0:
            raise InvalidArgumentError(
                f"padding keeps the size of the image for odd kernels only, got kernel {self.kernel}"
            )
        if self.skip is None:
            return self
        if self.skip_from + self.skip > self.layers:
            raise InvalidArgumentError(
                f"a block of {self.skip} layers after the first {self.skip_from} does not fit into {self.layers}; "
                "lower skip or skip_from, or drop both"
            )
        channels = self.channels
        for start in range(self.skip_from, self.layers - self.skip + 1, self.skip):
            if channels[start] != channels[start + self.skip]:
                raise InvalidArgumentError(
                    f"a skip connection adds the input of a block to its output, but the block after layer {start} "
                    f"has {channels[start]} channels before and {channels[start + self.skip]} behind; "
                    f"set filters to the image's {self.shape[0]} channels."
                )
        return self

    @property
    def channels(self) -> list[int]:
        """Return the channels before the first layer and after each layer."""
        return [self.shape[0], *[self.filters] * (self.layers - 1), self.shape[0]]


class ConvolutionChain(nn.Module):
    """Apply convolutions one after another, each with its activation; a block of ``skip`` layers is x + block(x)."""

    def __init__(self, config: ConvAutoencoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.layers: nn.ModuleList = nn.ModuleList(
            nn.Conv2d(fan_in, fan_out, config.kernel, padding=config.kernel // 2, bias=bool(config.bias))
            for fan_in, fan_out in pairwise(channels)
        )
        self.activation: nn.Sequential = nn.Sequential(*build_activation(config.activation))
        self.activated: int = config.layers if config.activate_last else config.layers - 1
        self.single_filter: bool = set(channels) == {1} and config.activation == "linear" and not config.bias
        skip = config.skip or config.layers + 1  # a block longer than the chain, so that there is none
        ends = range(config.skip_from + skip, config.layers + 1, skip)
        # The output of layer ``end`` is added to that of the layer before the block; 0 is the input of the chain.
        self.skips: dict[int, int] = {end: end - skip for end in ends}

    def run(self, x: Tensor, layer: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Run the chain with ``layer(index, x)`` in place of its convolutions."""
        sources = set(self.skips.values())
        # Only the values of skip connections that are still open are kept.
        values = {0: x} if 0 in sources else {}
        for done in range(1, len(self.layers) + 1):
            x = layer(done - 1, x)
            x = self.activation(x) if done <= self.activated else x
            if done in self.skips:
                x = x + values.pop(self.skips[done])
            if done in sources:
                values[done] = x
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map images to images of the same size."""
        return self.run(x, lambda index, value: self.layers[index](value))


@final
class ConvAutoencoder(Autoencoder[ConvAutoencoderConfig]):
    """Map images to images by convolutions of stride 1, whose zero padding keeps the size of the image.

    The network is linear in Tables 1 and 2, and has leaky ReLU in Figures 9 and 10. Our reading of "skip connections
    every m layers": the layers, from the first on or after ``skip_from``, fall into blocks of m. Each block becomes
    x + block(x), which includes the activation of its last layer; fewer than m layers at the end have no skip
    connection. Our reading of "a leaky ReLU activation per layer": the last layer has one as well.

    Example:
        >>> model = ConvAutoencoder(shape=(1, 3, 3), layers=8, filters=16)
        >>> sum(p.numel() for p in model.parameters())
        14112
    """

    config_class: ClassVar[type[ArchitectureConfig]] = ConvAutoencoderConfig

    def build(self, config: ConvAutoencoderConfig) -> nn.Module:
        """Build the chain and initialise it."""
        net = ConvolutionChain(config)
        initialise(net, config.init)
        return net

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """Return the layers in order; their parameters are ``net.layers.0.weight`` and so on."""
        return cast(list[nn.Conv2d], list(cast(ConvolutionChain, self.net).layers))
