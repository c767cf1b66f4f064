"""Two layers, the first one random and fixed: the network of Theorem 3."""

from math import prod
from typing import ClassVar, Self, cast, final

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from memzoo._checks import check_batch
from memzoo.models.base import ArchitectureConfig, Autoencoder
from memzoo.theory import Distribution, FirstLayer, random_features, second_layer


class WideReLUConfig(ArchitectureConfig):
    """Configuration of :class:`WideReLU`."""

    width: PositiveInt = 1024
    """Hidden units k."""
    distribution: Distribution = "normal"
    """Of the entries of W1 and b, mean 0 and variance 1."""


@final
class WideReLU(Autoencoder[WideReLUConfig]):
    r"""x to W2 relu(W1 x + b): W1 and b are drawn once and kept, W2 starts at zero and is trained.

    W1 and b come from PyTorch's global generator, are saved with the weights, and no optimizer moves them. Trained on
    one image x, the radius of the Jacobian there goes to :math:`\|x\|^2 / (\|x\|^2 + 1)` as the width grows; on several
    it can exceed 1 (see :func:`memzoo.theory.contraction_matrices`).

    Example:
        >>> x = torch.rand(3, 1, 4, 4)
        >>> model = WideReLU(shape=(1, 4, 4), width=200).fit_closed_form(x)
        >>> torch.allclose(model(x), x, atol=1e-4)
        True
    """

    config_class: ClassVar[type[ArchitectureConfig]] = WideReLUConfig

    def build(self, config: WideReLUConfig) -> nn.Sequential:
        """Flatten, the fixed layer, ReLU, the trained layer, unflatten."""
        size = prod(config.shape)
        fixed, trained = nn.Linear(size, config.width), nn.Linear(config.width, size, bias=False)
        drawn = random_features(config.width, size, distribution=config.distribution)
        fixed.weight, fixed.bias = (nn.Parameter(part, requires_grad=False) for part in drawn)
        nn.init.zeros_(trained.weight)
        return nn.Sequential(nn.Flatten(), fixed, nn.ReLU(), trained, nn.Unflatten(1, config.shape))

    @property
    def first(self) -> FirstLayer:
        """W1 and b."""
        layer = cast(nn.Linear, cast(nn.Sequential, self.net)[1])
        return FirstLayer(layer.weight, layer.bias)

    @property
    def second(self) -> nn.Parameter:
        """W2."""
        return cast(nn.Sequential, self.net)[3].weight  # type: ignore[return-value]

    @torch.no_grad()
    def fit_closed_form(self, examples: Float[Tensor, "n *shape"]) -> Self:
        r"""Set W2 to where gradient descent from zero ends, :math:`X \Phi^+`."""
        check_batch(examples, "examples")
        self.check_shape(examples)
        self.second.copy_(second_layer(examples.flatten(1).to(self.second), self.first))
        return self
