"""The fully connected autoencoders of Figures 2, 3, 4 and 11."""

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, final

from pydantic import Field, PositiveInt
from torch import nn

from memzoo.models.base import (
    Activation,
    ArchitectureConfig,
    Autoencoder,
    Initialisation,
    build_activation,
    initialise,
)


class FullyConnectedConfig(ArchitectureConfig):
    """Configuration of :class:`FullyConnected`."""

    shape: tuple[PositiveInt, ...] = (1, 28, 28)
    depth: PositiveInt = 7
    """Number of linear layers, the last one included."""
    width: PositiveInt = 128
    """Units of every hidden layer."""
    activation: Activation = "relu"
    bias: bool = True
    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(scheme="xavier_uniform")
    """Xavier weights and zero biases by default: with PyTorch's own initial values these networks interpolate but do
    not contract."""


@final
class FullyConnected(Autoencoder[FullyConnectedConfig]):
    """Map images to images by ``depth`` linear layers of ``width`` units, with an activation between them.

    Our reading of "7 layers, 128 hidden neurons" (Figure 3): 7 linear layers, so 6 hidden ones; the last is linear.

    Example:
        >>> model = FullyConnected(shape=(1, 28, 28), depth=14, width=128)
        >>> sum(p.numel() for p in model.parameters())
        399760
    """

    config_class: ClassVar[type[ArchitectureConfig]] = FullyConnectedConfig

    def build(self, config: FullyConnectedConfig) -> nn.Sequential:
        """Build the linear layers between a flattening and an unflattening layer."""
        size = prod(config.shape)
        widths = [size, *[config.width] * (config.depth - 1), size]
        layers: list[nn.Module] = [nn.Flatten()]
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            if i > 0:
                layers += build_activation(config.activation)
            layers.append(nn.Linear(fan_in, fan_out, bias=config.bias))
        net = nn.Sequential(*layers, nn.Unflatten(1, config.shape))
        initialise(net, config.init)
        return net
