"""The autoencoder seen from its codes: the self-map z -> E(D(z)) of the latent space."""

from typing import Any, final

from torch import Tensor, nn

from memzoo.dynamics.reconstruction import HALVES, list_parts, mode_of, pick_image, pick_reconstruction
from memzoo.errors import InvalidTypeError


def code_map(module: nn.Module) -> "CodeMap":
    r"""Return the map :math:`z \mapsto E(D(z))` of the codes of an autoencoder, as a module.

    Fixed points of ``E(D(z))`` and of the reconstruction ``D(E(x))`` belong together: the decoder maps one kind to the
    other, and both Jacobians have the same eigenvalues, except for zeros. The latent space is smaller, so that this map
    is cheaper to measure.

    Args:
        module: A module with methods ``encode`` and ``decode``, or with sub-modules ``encoder`` and ``decoder``. Where
            the encoder returns a distribution (``.mode()``, ``.latent_dist``, mean and logarithm of the variance), its
            mode is the code. Of other outputs with several parts, the image is the part named as one, else the only
            tensor, and the code is the part of the shape of the code.

    Returns:
        The map; its parameters are those of the module.

    Raises:
        TypeError: The module has no such halves.

    Example:
        >>> import torch
        >>> pair = torch.nn.ModuleDict({"encoder": torch.nn.Linear(6, 2), "decoder": torch.nn.Linear(2, 6)})
        >>> code_map(pair)(torch.zeros(3, 2)).shape
        torch.Size([3, 2])
    """
    for encode, decode in HALVES:
        if callable(getattr(module, encode, None)) and callable(getattr(module, decode, None)):
            return CodeMap(module, encode, decode)
    raise InvalidTypeError(
        f"{type(module).__name__} has neither encode and decode nor encoder and decoder; write the map of its codes as "
        "a module of your own whose forward is z -> encode(decode(z))."
    )


@final
class CodeMap(nn.Module):
    """Decode a code, and encode the image; :func:`memzoo.code_map` makes one."""

    module: nn.Module

    def __init__(self, module: nn.Module, encode: str, decode: str) -> None:
        super().__init__()
        self.module = module
        self.encode = encode
        self.decode = decode
        self.training = module.training

    def forward(self, z: Tensor) -> Tensor:
        """Map a batch of codes."""
        image = pick_image(getattr(self.module, self.decode)(z), f"{self.decode} of {type(self.module).__name__}")
        code = getattr(self.module, self.encode)(image)
        if isinstance(code, Tensor):
            return code
        try:
            return mode_of(code)
        except TypeError:
            return _pick_code(code, z, f"{self.encode} of {type(self.module).__name__}")


def _pick_code(output: Any, z: Tensor, name: str) -> Tensor:
    """Return the code in what an encoder returned beside no distribution."""
    codes = [part for part in list_parts(output) if isinstance(part.value, Tensor) and part.value.shape == z.shape]
    return codes[0].value if len(codes) == 1 else pick_reconstruction(output, z, name)
