"""Call a module with a batch: its forward, its forward on a dict, the mode of its posterior, a mask that is fixed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from memzoo._attempt import Attempt
from memzoo.dynamics.reconstruction.parts import list_parts
from memzoo.errors import InvalidTypeError

MODES = ("mean", "mu", "loc", "z_mu", "embedding")
"""Names under which an encoder returns the mean of a normal distribution."""
HALVES = (("encode", "decode"), ("encoder", "decoder"))
"""Names of the halves of an autoencoder, methods or sub-modules."""
GOLDEN = 0.6180339887498949
"""The multiples of the golden ratio, modulo 1, are spread evenly (Weyl, 1916)."""


@dataclass(frozen=True)
class Forward:
    """Call the module with the batch alone."""

    statement: str = ""
    """What is measured, if it is not the forward of the batch."""
    fixes_draws: ClassVar[bool] = False
    """Whether a draw of the forward is replaced by something fixed, so that another map is measured."""

    def __call__(self, module: Callable[..., Any], x: Tensor) -> Any:
        """Return what forward returns."""
        return module(x)


@dataclass(frozen=True)
class FromKey(Forward):
    """Call the module with a dict that holds the batch under one key, as pythae's models take it."""

    key: str = ""

    def __call__(self, module: Callable[..., Any], x: Tensor) -> Any:
        """Return what forward returns."""
        return module({self.key: x})


@dataclass(frozen=True)
class AtMode(Forward):
    """Decode the mode of the distribution that the encoder of a variational autoencoder returns."""

    fixes_draws = True
    owner: str = ""
    """Path of the sub-module that has both halves; empty for the module itself."""
    encode: str = "encode"
    decode: str = "decode"

    def __call__(self, module: Any, x: Tensor) -> Any:
        """Return what the decoder returns."""
        owner = module.get_submodule(self.owner)
        code = getattr(owner, self.encode)(x)
        # Many encoders return mean and log variance as the halves of one tensor.
        mode = code.chunk(2, 1)[0] if isinstance(code, Tensor) else mode_of(code)
        return getattr(owner, self.decode)(mode)


@dataclass(frozen=True)
class FixedMask(Forward):
    """Give a masked autoencoder the same noise for each row, from which it chooses the patches that it hides."""

    fixes_draws = True
    owner: str = ""
    """Path of the sub-module that takes the noise; empty for the module itself."""
    patches: int = 0

    def __call__(self, module: Any, x: Tensor) -> Any:
        """Return what forward returns."""
        return module.get_submodule(self.owner)(x, noise=spread_noise(len(x), self.patches, x.device))


def spread_noise(rows: int, count: int, device: torch.device) -> Tensor:
    """Return numbers in [0, 1) that are spread evenly, the same for each row."""
    noise = (torch.arange(1, count + 1, dtype=torch.float64) * GOLDEN) % 1
    return noise.to(device, torch.float32).expand(rows, -1)


def find_owner(module: Any, *names: str) -> tuple[str, Any] | None:
    """Find the module that has all of these methods or sub-modules: the module itself or one within, the outermost.

    Returns:
        Its path and the module; None if there is none.
    """
    if not isinstance(module, nn.Module):
        return None
    for path, part in sorted(module.named_modules(), key=lambda entry: entry[0].count(".") + bool(entry[0])):
        if all(callable(getattr(part, name, None)) for name in names):
            return path, part
    return None


class _AnyKey(dict[str, Any]):
    """A dict that holds a value under any key, and remembers which keys were read."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value
        self.keys_read: list[str] = []

    def __missing__(self, key: str) -> Any:
        self.keys_read.append(key)
        return self.value


def find_key(call: Callable[[Any], Any], x: Tensor) -> str | None:
    """Find the one key under which a forward reads its batch from a dict; None if it does not do so."""
    batch = _AnyKey(x)
    with Attempt(Exception):  # a stranger's code may raise anything
        call(batch)
        keys = set(batch.keys_read)
        if len(keys) == 1 and isinstance(key := keys.pop(), str):
            return key
    return None


def mode_of(code: Any) -> Tensor:
    """Return the mode of what an encoder returns as a distribution over codes.

    That is ``.mode()`` of the object or of its ``.latent_dist``, or the mean of (mean, logarithm of the variance), as a
    tuple or under names.

    Raises:
        TypeError: This is no distribution.
    """
    code = getattr(code, "latent_dist", code)
    mode = None if isinstance(code, Tensor) else getattr(code, "mode", None)
    mode = mode() if callable(mode) else mode
    if isinstance(mode, Tensor):
        return mode
    if isinstance(code, (tuple, list)) and not hasattr(code, "_fields") and len(code) == 2:
        mean, other = code
        if isinstance(mean, Tensor) and isinstance(other, Tensor) and mean.shape == other.shape:
            return mean
    named = {part.name: part.value for part in list_parts(code, MODES) if isinstance(part.value, Tensor)}
    mean = next((named[name] for name in MODES if name in named), None)
    if mean is None or sum(value.shape == mean.shape for value in named.values()) < 2:
        raise InvalidTypeError(
            f"a {type(code).__name__} is no distribution with a mean and a variance; return an object with .mode(), or "
            "the mean and the logarithm of the variance."
        )
    return mean
