"""The network D2 of the paper's supplement (Figure 8)."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, final

from pydantic import Field, PositiveInt, model_validator
from torch import nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder, Initialisation, build_activation, initialise

STRIDE = 8
"""Stride of the first convolution, which takes 32x32 to 4x4."""
DOUBLINGS = 3
"""Number of times that the side is doubled near the end: 2 ** DOUBLINGS is STRIDE."""


class D2Config(ArchitectureConfig):
    """Configuration of :class:`D2`."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 32, 32)
    layers: PositiveInt = 29
    """Number of convolutions, first and last included."""
    filters: PositiveInt = 64
    """Filters of every layer but the last: with 64 filters of 3x3 weights at 1.8e-3 the gain of a layer is about 1."""
    stage: PositiveInt = 1
    """Convolutions after each doubling of the side. From nearly equal weights more of them learn much more slowly."""
    activation: Literal["linear", "leaky_relu"] = "linear"
    bias: bool = False
    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(
        scheme="constant", value=1.8e-3, noise=0.1
    )
    """Every weight starts at 1.8e-3, as in the paper, plus Gaussian noise of a tenth of that."""

    @model_validator(mode="after")
    def _check_sizes(self) -> "D2Config":
        _, height, width = self.shape
        if height != width or height % STRIDE:
            raise InvalidArgumentError(
                f"D2 divides the side of a square image by {STRIDE}, got shape {self.shape}; crop or pad."
            )
        if self.layers <= DOUBLINGS * self.stage:
            raise InvalidArgumentError(
                f"D2 needs {DOUBLINGS * self.stage} layers after its doublings and at least one before them, "
                f"got layers={self.layers}; lower stage or add layers."
            )
        return self


@final
class D2(Autoencoder[D2Config]):
    """Compute at an eighth of the side: the first convolution shrinks the image, upsampling near the end restores it.

    Our reading of the paper's drawing: the first of 29 3x3 convolutions has stride 8 and takes 32x32 to 4x4, the size
    for which 29 layers are the heuristic depth; 25 more follow at that size. Then the side doubles three times by
    nearest-neighbour upsampling, and a convolution follows each doubling: upsampling at once to 32x32 before a
    single convolution could not represent an image. A leaky ReLU, if there is one, follows each convolution but the
    last.

    The paper starts *every* parameter at 1.8e-3. Then the filters of a layer stay equal throughout training, and the
    loss stops at .016 and above; the small noise of the default breaks this symmetry.

    Example:
        >>> model = D2()
        >>> sum(p.numel() for p in model.parameters())
        998784
    """

    config_class: ClassVar[type[ArchitectureConfig]] = D2Config

    def build(self, config: D2Config) -> nn.Module:
        """Build the convolutions in one chain, with upsampling between the last stages."""
        channels = config.shape[0]
        widths = [channels, *[config.filters] * (config.layers - 1), channels]
        # convolutions before which the side is doubled
        doubled = {config.layers - config.stage * k for k in range(1, DOUBLINGS + 1)}
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            if i in doubled:
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            stride = STRIDE if i == 0 else 1
            layers.append(nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=config.bias))
            if i < config.layers - 1:
                layers += build_activation(config.activation)
        net = nn.Sequential(*layers)
        initialise(net, config.init)
        return net
