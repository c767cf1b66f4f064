"""Encoders and decoders as modules where that is possible, so that they can be evaluated in float64."""

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from memzoo._attempt import is_out_of_memory
from memzoo.dynamics.reconstruction import mode_of, pick_image
from memzoo.errors import InvalidArgumentError, InvalidTypeError, MemzooError

Half = Callable[[Tensor], Tensor]
"""An encoder or a decoder: from a batch (B, \\*shape) to a batch of another shape; rows do not interact."""


class _MethodOfModule(nn.Module):
    """Call one method of a module as the forward, so that the parameters of the module stay visible."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module = module
        self.name = name
        self.training = module.training  # train() would change the modes of the parts

    def forward(self, x: Tensor) -> Tensor:
        """Call the method, and take the tensor out of what it returns: the mode of a distribution, or the image."""
        output = getattr(self.module, self.name)(x)
        if isinstance(output, Tensor):
            return output
        try:
            return mode_of(output)
        except InvalidTypeError:
            return pick_image(output, f"{self.name} of {type(self.module).__name__}")


def see_as_module(half: Half) -> Half:
    """Return a method of a module, such as ``model.decode``, as a module; return anything else as it is."""
    owner = getattr(half, "__self__", None)
    name = getattr(half, "__name__", "")
    if isinstance(owner, nn.Module) and getattr(owner, name, None) == half:
        return _MethodOfModule(owner, name)
    return half


def apply_half(half: Half, x: Tensor, name: str) -> Tensor:
    """Evaluate an encoder or a decoder, and raise an error unless the result is a batch of real numbers.

    Args:
        half: The encoder or the decoder.
        x: Points.
        name: What the half is called in messages.
    """
    try:
        y = half(x)
    except MemzooError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InvalidArgumentError(
            f"the {name} cannot be evaluated at a batch {tuple(x.shape)} of {x.dtype}: {type(error).__name__}: "
            f"{error}. Pass points of the shape, type and device that it takes."
        ) from error
    if not isinstance(y, Tensor):
        raise InvalidArgumentError(
            f"the {name} must return a tensor, but returns a {type(y).__name__}; pass a function that returns the "
            "tensor alone, such as lambda z: vae.decode(z).sample, or the mean of the posterior for an encoder."
        )
    if not y.is_floating_point():
        raise InvalidArgumentError(f"the {name} must return real floating-point numbers, got {y.dtype}.")
    if y.ndim < 1 or len(y) != len(x):
        raise InvalidArgumentError(
            f"the {name} must return a row for each row that it is given, but {tuple(x.shape)} became "
            f"{tuple(y.shape)}; the batch is the first axis."
        )
    return y


def compose(encoder: Half, decoder: Half) -> Half:
    r"""Return the map :math:`z \mapsto E(D(z))`, as a module if both halves are modules."""
    encoder = see_as_module(encoder)
    decoder = see_as_module(decoder)
    if isinstance(encoder, nn.Module) and isinstance(decoder, nn.Module):
        return _LatentMap(encoder, decoder)
    return lambda z: encoder(decoder(z))


class _LatentMap(nn.Module):
    """Decode a code and encode the result."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.training = encoder.training or decoder.training

    def forward(self, z: Tensor) -> Tensor:
        """Map a batch of codes."""
        return cast(Tensor, self.encoder(self.decoder(z)))
