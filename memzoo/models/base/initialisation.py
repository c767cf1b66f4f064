"""Initial values of weights and biases, by the name of their scheme.

The initial values decide whether an interpolating autoencoder contracts: large ones give an arbitrary interpolation,
small ones attractors at the training examples (Figures 1a and 12 of the paper). Xavier draws follow Glorot and Bengio
(2010), Kaiming draws He et al. (2015).
"""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base.config import Config

Scheme = Literal[
    "default", "scaled", "constant", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"
]


class Initialisation(Config):
    """Describe how weights and biases start.

    ``default``: PyTorch's own; ``scaled``: PyTorch's own times ``gain``; ``constant``: every weight is ``value``,
    plus ``noise``; Xavier and Kaiming, uniform or normal, times ``gain``. Biases start at zero, as PyTorch's default,
    or at ``value``.

    A configuration may also give the name alone: ``init="xavier_uniform"``.
    """

    scheme: Scheme = "xavier_uniform"
    gain: float = Field(default=1.0, gt=0)
    value: float | None = None
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of the Gaussian noise on constant weights, relative to ``value``. Without it the filters of a
    layer that start equal receive equal gradients and stay equal for ever."""
    bias: Literal["zeros", "default", "constant"] | None = None
    """When left out, ``default`` and ``constant`` treat biases like weights, and every other scheme starts biases at
    zero."""

    @model_validator(mode="before")
    @classmethod
    def _accept_name_alone(cls, data: Any) -> Any:
        return {"scheme": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _check_value_and_noise(self) -> "Initialisation":
        constant = "constant" in (self.scheme, self.bias)
        if constant and self.value is None:
            raise InvalidArgumentError(
                "constant initialisation needs its value, e.g. {scheme: constant, value: 1.8e-3}"
            )
        if not constant and self.value is not None:
            raise InvalidArgumentError(f"value is only used by constant initialisation, not by {self.scheme}")
        if self.noise and self.scheme != "constant":
            raise InvalidArgumentError(
                f"noise breaks the symmetry of constant weights; {self.scheme} draws random ones without it"
            )
        return self


def initialise(module: nn.Module, init: Initialisation) -> None:
    """Set the weights and biases of every linear and convolutional layer of ``module`` in place.

    The values are drawn from PyTorch's global generator, as those of a new layer are; seed it for a repeatable result.
    """
    bias = _choose_bias(init)
    for layer in module.modules():
        if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            continue
        _set_weight(layer.weight, init)
        if layer.bias is not None and bias is not None:
            nn.init.constant_(layer.bias, bias)


def _choose_bias(init: Initialisation) -> float | None:
    """Return the value at which every bias starts, or None if biases keep PyTorch's own values."""
    kind = init.bias or init.scheme
    if kind == "default":
        return None
    return (init.value or 0.0) if kind == "constant" else 0.0


def _set_weight(weight: Tensor, init: Initialisation) -> None:
    """Set one weight, which PyTorch drew when it built the layer, by the scheme."""
    match init.scheme:
        case "scaled":
            weight.data.mul_(init.gain)
        case "constant":
            value = init.value or 0.0
            nn.init.constant_(weight, value)
            # Without noise nothing is drawn, so that the generator stays where it is.
            if init.noise:
                weight.data.add_(torch.randn_like(weight), alpha=init.noise * abs(value))
        case "xavier_uniform":
            nn.init.xavier_uniform_(weight, init.gain)
        case "xavier_normal":
            nn.init.xavier_normal_(weight, init.gain)
        # PyTorch's Kaiming draws take no gain of our own.
        case "kaiming_uniform":
            nn.init.kaiming_uniform_(weight, nonlinearity="relu")
            weight.data.mul_(init.gain)
        case "kaiming_normal":
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            weight.data.mul_(init.gain)
        case "default":
            pass  # keeps the draw of PyTorch
