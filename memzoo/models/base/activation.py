"""The activations that a configuration can name."""

from typing import Literal, get_args

from torch import Tensor, nn

Activation = Literal[
    "linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "tanh", "sigmoid", "sin"
]


class Sine(nn.Module):
    """Apply the sine to every entry."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute sin(x), elementwise."""
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


def build_activation(name: Activation) -> list[nn.Module]:
    """Build the layer and return it in a list, which is empty for ``linear``.

    The constants are PyTorch's own: a leaky ReLU has slope 0.01.
    """
    return [] if name == "linear" else [_CLASSES[name]()]
