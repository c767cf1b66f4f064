"""Stacks of convolutions at the full size of the image: Tables 1 and 2, Figures 9 and 10 of the paper."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, cast, final

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder, Initialisation, activation_layers, initialise


class ConvAutoencoderConfig(ArchitectureConfig):
    """Configuration of :class:`ConvAutoencoder`."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 4, 4)
    layers: PositiveInt = 29
    filters: PositiveInt = 1
    """Of every layer but the last, which has one for each channel of the image."""
    kernel: PositiveInt = 3
    """Side of the filters, odd; zero padding keeps the size of the image."""
    activation: Literal["linear", "leaky_relu", "relu"] = "linear"
    activate_last: bool = True
    """An activation after the last layer too: the paper has one "per layer"."""
    skip: PositiveInt | None = None
    """Layers in a block with a skip connection; None for no skip connections."""
    skip_from: NonNegativeInt = 0
    """Layers before the first block, without skip connections. With 0 a linear network of small weights starts near the
    identity, where there is nothing left to learn; with more, near zero."""
    bias: bool | None = None
    """Left out: on where there is an activation. Without biases a leaky ReLU network has eigenvalue 1 at every fixed
    point but zero; with them a linear one is affine and its spectrum no longer that of a projection."""
    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(scheme="xavier_uniform")

    @model_validator(mode="before")
    @classmethod
    def _bias_of_the_activation(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("bias") is None:
            return {**data, "bias": data.get("activation", "linear") != "linear"}
        return data

    @model_validator(mode="after")
    def _sizes_fit(self) -> "ConvAutoencoderConfig":
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
        """Channels before the first layer and after each."""
        return [self.shape[0], *[self.filters] * (self.layers - 1), self.shape[0]]


class ConvolutionChain(nn.Module):
    r"""Convolutions one after another, each with its activation; a block of ``skip`` of them becomes x + block(x)."""

    def __init__(self, config: ConvAutoencoderConfig) -> None:
        super().__init__()
        channels, padding = config.channels, config.kernel // 2
        self.layers: nn.ModuleList = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], config.kernel, padding=padding, bias=bool(config.bias))
            for i in range(config.layers)
        )
        self.activation: nn.Sequential = nn.Sequential(*activation_layers(config.activation))
        self.activated: int = config.layers if config.activate_last else config.layers - 1
        self.single_filter: bool = set(channels) == {1} and config.activation == "linear" and not config.bias
        skip = config.skip or config.layers + 1
        self.skips: dict[int, int] = {
            layer: layer - skip for layer in range(config.skip_from + skip, config.layers + 1, skip)
        }

    def run(self, x: Tensor, layer: Callable[[int, Tensor], Tensor]) -> Tensor:
        """The chain with ``layer(index, x)`` in place of its convolutions."""
        sources = set(self.skips.values())
        values = {0: x} if 0 in sources else {}  # of skip connections that are still to end
        for done in range(1, len(self.layers) + 1):
            x = layer(done - 1, x)
            x = self.activation(x) if done <= self.activated else x
            if done in self.skips:
                x = x + values.pop(self.skips[done])
            if done in sources:
                values[done] = x
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Images of the same size."""
        return self.run(x, lambda index, value: self.layers[index](value))


@final
class ConvAutoencoder(Autoencoder[ConvAutoencoderConfig]):
    """Convolutions of stride 1 with zero padding, as many as it takes: size and channels of the image at both ends.

    Linear in Tables 1 and 2, with leaky ReLU in Figures 9 and 10. Our reading of "skip connections every m layers":
    the layers fall into blocks of m, from the first on or after ``skip_from``, each becomes x + block(x), the
    activation of its last layer included; fewer than m layers at the end stay without. Of "a leaky ReLU activation per
    layer": one after the last layer as well.

    Example:
        >>> model = ConvAutoencoder(shape=(1, 3, 3), layers=8, filters=16)
        >>> sum(p.numel() for p in model.parameters())
        14112
    """

    config_class: ClassVar[type[ArchitectureConfig]] = ConvAutoencoderConfig

    def build(self, config: ConvAutoencoderConfig) -> nn.Module:
        """The chain, initialised."""
        net = ConvolutionChain(config)
        initialise(net, config.init)
        return net

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """The layers in order; their parameters are ``net.layers.0.weight`` and so on."""
        return cast(list[nn.Conv2d], list(cast(ConvolutionChain, self.net).layers))
