"""One nonlinear layer phi(A x), the network of Theorem 1 of the paper."""

from math import prod
from typing import ClassVar, Self, cast, final

import torch
from jaxtyping import Float
from pydantic import field_validator
from torch import Tensor, nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder, squared_error
from memzoo.theory import Phi, adaptive_rates, minimum_norm_preimage, phi_named


class OneLayerAutoencoderConfig(ArchitectureConfig):
    """Configuration of :class:`OneLayerAutoencoder`."""

    phi: str = "sigmoid"
    """Name of the nonlinearity: ``sigmoid``, ``tanh``, the decreasing ``reflected_sigmoid``, or one of your own that
    :func:`memzoo.theory.register_phi` has registered. JSON holds the name only, so register it before loading, too."""

    @field_validator("phi")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return phi_named(name).name


@final
class Elementwise(nn.Module):
    """Apply phi to every entry."""

    def __init__(self, phi: Phi) -> None:
        super().__init__()
        self.phi = phi

    def forward(self, x: Tensor) -> Tensor:
        """Compute phi(x)."""
        return self.phi.value(x)

    def extra_repr(self) -> str:
        """Return the name of phi."""
        return self.phi.name


@final
class OneLayerAutoencoder(Autoencoder[OneLayerAutoencoderConfig]):
    r"""Map x to phi(A x), without bias; A starts at zero.

    With ``training={"optimizer": "adaptive"}`` each step is the step of Theorem 1, with ``lr`` its :math:`\gamma`: give
    full batches and ``lr`` below :func:`memzoo.theory.adaptive_step_bound`. Every other optimizer follows the mean
    squared error, which the paper expects to work as well.

    Example:
        >>> x = 0.1 + 0.3 * torch.rand(2, 1, 4, 4)
        >>> model = OneLayerAutoencoder(shape=(1, 4, 4), phi="sigmoid").fit_closed_form(x)
        >>> torch.allclose(model(x), x, atol=1e-5)
        True
    """

    config_class: ClassVar[type[ArchitectureConfig]] = OneLayerAutoencoderConfig

    def build(self, config: OneLayerAutoencoderConfig) -> nn.Sequential:
        """Build the matrix and phi between a flattening and an unflattening layer."""
        size = prod(config.shape)
        linear = nn.Linear(size, size, bias=False)
        nn.init.zeros_(linear.weight)
        activation = Elementwise(phi_named(config.phi))
        return nn.Sequential(nn.Flatten(), linear, activation, nn.Unflatten(1, config.shape))

    @property
    def matrix(self) -> nn.Parameter:
        """Return A."""
        return cast(nn.Sequential, self.net)[1].weight  # type: ignore[return-value]

    @torch.no_grad()
    def fit_closed_form(self, examples: Float[Tensor, "n *shape"]) -> Self:
        r"""Set A to the limit of Theorem 1, :math:`\phi^{-1}(X) X^+`."""
        self.check_shape(examples)
        flat = examples.flatten(1).to(self.matrix.device)
        self.matrix.copy_(minimum_norm_preimage(flat, self.config.phi))
        return self

    def objective(self, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Compute the loss, and the scalar whose gradient the optimizer follows.

        For the adaptive optimizer the gradient of the scalar in A is minus the step of Theorem 1 over :math:`\gamma`.
        The scalar is :math:`-\sum_{ij} \big[(\phi(z_{ij}) - x_{ij}) / s_{ij}\big]\, z_{ij}` with z = A x; the
        bracket is held constant.
        """
        if self.training_config.optimizer != "adaptive":
            return super().objective(x, target)
        if target is not None:
            raise InvalidArgumentError(
                "the adaptive step of Theorem 1 is for images that are reproduced, and this batch has targets of its "
                "own; train with optimizer 'sgd', 'adam' or 'adamw'."
            )
        phi = phi_named(self.config.phi)
        flat = x.flatten(1)
        z = flat @ self.matrix.T
        y = phi.value(z).detach()
        # (phi(z_ij) - x_ij) / s_ij, a constant factor of z_ij
        weight = (y - flat) / adaptive_rates(flat, phi).to(z.dtype)
        return squared_error(y, flat, self.training_config.loss), -(weight * z).sum()
