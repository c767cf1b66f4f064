"""One linear layer that starts at zero.

Gradient descent makes it the projection onto the span of the examples (Section 2 and Supplement A of the paper).
"""

from math import prod
from typing import Annotated, ClassVar, Self, cast, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from memzoo.models.base import ArchitectureConfig, Autoencoder, Initialisation, initialise
from memzoo.theory import minimum_norm_solution


class LinearAutoencoderConfig(ArchitectureConfig):
    """Configuration of :class:`LinearAutoencoder`."""

    init: Annotated[Initialisation, Field(validate_default=True)] = Initialisation(scheme="constant", value=0.0)
    """Zero, as in the theory: the part of the start that lies outside the span stays for ever (Supplement I.2)."""


@final
class LinearAutoencoder(Autoencoder[LinearAutoencoderConfig]):
    r"""Map x to A x, without bias.

    Gradient descent (``optimizer="sgd", loss="half_sum"``) follows :func:`memzoo.theory.gradient_descent_solution` step
    by step, with ``lr`` the step :math:`\gamma` there; on the mean of the squares over n examples and d pixels it
    does so with ``lr`` = :math:`\gamma\, n d / 2`.

    Example:
        >>> x = torch.rand(2, 1, 4, 4)
        >>> model = LinearAutoencoder(shape=(1, 4, 4)).fit_closed_form(x)
        >>> torch.allclose(model(x), x, atol=1e-5)
        True
    """

    config_class: ClassVar[type[ArchitectureConfig]] = LinearAutoencoderConfig

    def build(self, config: LinearAutoencoderConfig) -> nn.Sequential:
        """Build the matrix between a flattening and an unflattening layer."""
        size = prod(config.shape)
        net = nn.Sequential(nn.Flatten(), nn.Linear(size, size, bias=False), nn.Unflatten(1, config.shape))
        initialise(net, config.init)
        return net

    @property
    def matrix(self) -> nn.Parameter:
        """Return A."""
        return cast(nn.Sequential, self.net)[1].weight  # type: ignore[return-value]

    @torch.no_grad()
    def fit_closed_form(self, examples: Float[Tensor, "n *shape"]) -> Self:
        """Set A to the limit of gradient descent from the present A (Supplement I.2)."""
        self.check_shape(examples)
        start = self.matrix.double()
        self.matrix.copy_(minimum_norm_solution(examples.flatten(1).to(self.matrix.device), start))
        return self
