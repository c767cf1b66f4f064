"""Elementwise nonlinearities with an inverse, by name: the phi of Theorem 1 of the paper."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError, NonFiniteError
from memzoo.theory.span import check_examples


@dataclass(frozen=True)
class Phi:
    r"""Apply a strictly monotone function :math:`\phi` of one real variable to every entry.

    Example:
        >>> cubic = Phi("cubic", value=lambda z: z**3 + z, inverse=lambda x: x, derivative=lambda z: 3 * z**2 + 1)
        >>> cubic.value(torch.tensor(2.0)), cubic.at_zero
        (tensor(10.), 0.0)
    """

    name: str
    value: Callable[[Tensor], Tensor]
    """Function from z to phi(z)."""
    inverse: Callable[[Tensor], Tensor]
    """Function from x to the z with phi(z) = x, for x inside the range."""
    derivative: Callable[[Tensor], Tensor]
    """Function from z to phi'(z)."""
    low: float = -math.inf
    """Lower end of the range, the open interval (low, high)."""
    high: float = math.inf
    """Upper end of the range."""

    @property
    def at_zero(self) -> float:
        """Compute phi(0), the output of an untrained network with A = 0."""
        return self.value(torch.zeros((), dtype=torch.float64)).item()

    def preimage(self, examples: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        r"""Compute :math:`\phi^{-1}(x_{ij})`, in float64.

        Raises:
            NonFiniteError: The inverse is not finite although all examples lie inside the range.
            ValueError: An example lies outside the open range.
        """
        check_examples(examples)
        x = examples.double()
        inside = (x > self.low) & (x < self.high)
        if not inside.all():
            i, j = (~inside).nonzero()[0].tolist()
            raise InvalidArgumentError(
                f"{int((~inside).sum())} of {x.numel()} coordinates lie outside the open range ({self.low:g}, "
                f"{self.high:g}) of phi = {self.name}, the first is examples[{i}, {j}] = {x[i, j]:g}; they have no "
                "preimage: scale the examples into the range, e.g. 0.05 + 0.9 * x for pixels in [0, 1]."
            )
        z = self.inverse(x)
        if not z.isfinite().all():
            raise NonFiniteError(f"the inverse of phi = {self.name} is not finite inside its range; mend Phi.inverse.")
        return z


def _sech_squared(z: Tensor) -> Tensor:
    """Compute 1 - tanh(z)^2 without cancellation."""
    return 4 * torch.sigmoid(2 * z) * torch.sigmoid(-2 * z)


def _sigmoid_derivative(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


SIGMOID = Phi("sigmoid", torch.sigmoid, torch.logit, _sigmoid_derivative, 0.0, 1.0)
TANH = Phi("tanh", torch.tanh, torch.atanh, _sech_squared, -1.0, 1.0)
REFLECTED_SIGMOID = Phi(
    "reflected_sigmoid",  # sigmoid(-z), which decreases
    lambda z: torch.sigmoid(-z),
    lambda x: -torch.logit(x),
    lambda z: -_sigmoid_derivative(z),
    0.0,
    1.0,
)

PHIS: dict[str, Phi] = {phi.name: phi for phi in (SIGMOID, TANH, REFLECTED_SIGMOID)}
"""Nonlinearities by the names that configurations use."""


def register_phi(phi: Phi) -> Phi:
    """Register a nonlinearity of your own by its name, so that configurations can hold it.

    A configuration is JSON and cannot hold a function: a program that loads the model must register the same
    nonlinearity first.

    Raises:
        ValueError: Another nonlinearity has this name.

    Example:
        >>> arctan = Phi("arctan", torch.atan, torch.tan, lambda z: 1 / (1 + z**2), -math.pi / 2, math.pi / 2)
        >>> register_phi(arctan) is phi_named("arctan")
        True
    """
    if PHIS.get(phi.name, phi) is not phi:
        raise InvalidArgumentError(f"a phi named {phi.name!r} is registered already; give yours another name.")
    PHIS[phi.name] = phi
    return phi


def phi_named(phi: str | Phi) -> Phi:
    """Look a nonlinearity up by its name; return a :class:`Phi` as it is.

    Raises:
        ValueError: The name is not registered.
    """
    if isinstance(phi, Phi):
        return phi
    if phi not in PHIS:
        raise InvalidArgumentError(
            f"no phi is named {phi!r}, known are {', '.join(PHIS)}; register your own with register_phi."
        )
    return PHIS[phi]
