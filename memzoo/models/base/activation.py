"""Activations by name."""

from typing import Literal, get_args

from torch import Tensor, nn

Activation = Literal[
    "linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "tanh", "sigmoid", "sin"
]


class Sine(nn.Module):
    """sin(x), elementwise."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise sine."""
        return x.sin()


_CLASSES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "sin": Sine,
}
assert set(get_args(Activation)) == {"linear", *_CLASSES}


def activation_layers(name: Activation) -> list[nn.Module]:
    """The layer as a list, empty for ``linear``, with PyTorch's own constants (a leaky ReLU has slope 0.01)."""
    return [] if name == "linear" else [_CLASSES[name]()]
