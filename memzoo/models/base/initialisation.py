"""Initial values by name: they decide whether an interpolating autoencoder contracts."""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from memzoo.errors import InvalidArgumentError
from memzoo.models.base.config import Config

Scheme = Literal[
    "default", "scaled", "constant", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"
]


class Initialisation(Config):
    """How weights and biases start.

    ``default``: PyTorch's own; ``scaled``: PyTorch's own times ``gain``; ``constant``: every weight is ``value``,
    plus ``noise``; Xavier and Kaiming, uniform or normal, times ``gain``. Biases start at zero, as PyTorch's default,
    or at ``value``.

    In a configuration the name alone will do: ``init="xavier_uniform"``.
    """

    scheme: Scheme = "xavier_uniform"
    gain: float = Field(default=1.0, gt=0)
    value: float | None = None
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of the Gaussian noise on constant weights, relative to ``value``. Without it the filters of a
    layer that start equal receive equal gradients and stay equal for ever."""
    bias: Literal["zeros", "default", "constant"] | None = None
    """Left out: ``default`` and ``constant`` treat biases like weights, every other scheme starts them at zero."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"scheme": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _value_where_needed(self) -> "Initialisation":
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

    Draws from PyTorch's global generator, as layers do when they are built; seed it for a repeatable result.
    """
    bias = init.bias or (init.scheme if init.scheme in ("default", "constant") else "zeros")
    for layer in module.modules():
        if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            continue
        match init.scheme:
            case "default":
                pass  # drawn when the layer was built
            case "scaled":
                layer.weight.data.mul_(init.gain)
            case "constant":
                value = init.value or 0.0
                nn.init.constant_(layer.weight, value)
                if init.noise:  # else nothing is drawn from the generator
                    layer.weight.data.add_(torch.randn_like(layer.weight), alpha=init.noise * abs(value))
            case "xavier_uniform":
                nn.init.xavier_uniform_(layer.weight, gain=init.gain)
            case "xavier_normal":
                nn.init.xavier_normal_(layer.weight, gain=init.gain)
            case "kaiming_uniform":
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                layer.weight.data.mul_(init.gain)
            case "kaiming_normal":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.weight.data.mul_(init.gain)
        if layer.bias is not None and bias != "default":
            nn.init.constant_(layer.bias, (init.value or 0.0) if bias == "constant" else 0.0)
