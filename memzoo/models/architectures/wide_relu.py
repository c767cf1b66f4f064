"""Two layers, the first one random and fixed: the network of Theorem 3 of the paper."""

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
    """Number k of hidden units."""
    distribution: Distribution = "normal"
    """Law of the entries of W1 and b, with mean 0 and variance 1."""


@final
class WideReLU(Autoencoder[WideReLUConfig]):
    r"""Map x to W2 relu(W1 x + b): W1 and b are drawn once and kept, W2 starts at zero and is trained.

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
        """Build the fixed layer, a ReLU and the trained layer, between a flattening and an unflattening layer."""
        size = prod(config.shape)
        # PyTorch draws initial values for both layers, which are replaced; a seed gives W1 and b after these draws.
        fixed = nn.Linear(size, config.width)
        trained = nn.Linear(config.width, size, bias=False)
        drawn = random_features(config.width, size, distribution=config.distribution)
        fixed.weight = nn.Parameter(drawn.weight, requires_grad=False)
        fixed.bias = nn.Parameter(drawn.bias, requires_grad=False)
        nn.init.zeros_(trained.weight)
        return nn.Sequential(nn.Flatten(), fixed, nn.ReLU(), trained, nn.Unflatten(1, config.shape))

    @property
    def first(self) -> FirstLayer:
        """Return W1 and b."""
        layer = cast(nn.Linear, cast(nn.Sequential, self.net)[1])
        return FirstLayer(layer.weight, layer.bias)

    @property
    def second(self) -> nn.Parameter:
        """Return W2."""
        return cast(nn.Sequential, self.net)[3].weight  # type: ignore[return-value]

    @torch.no_grad()
    def fit_closed_form(self, examples: Float[Tensor, "n *shape"]) -> Self:
        r"""Set W2 to the limit of gradient descent from zero, :math:`X \Phi^+`."""
        check_batch(examples, "examples")
        self.check_shape(examples)
        self.second.copy_(second_layer(examples.flatten(1).to(self.second), self.first))
        return self
