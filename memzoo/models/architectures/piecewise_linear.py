"""The two-layer ReLU network in the proof of Theorem 6 of the paper, which is built and not trained."""

from math import prod
from typing import ClassVar, Self, cast, final

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from memzoo._checks import check_batch
from memzoo.errors import InvalidArgumentError
from memzoo.models.base import ArchitectureConfig, Autoencoder
from memzoo.theory import piecewise_linear_map

RESOLVED_ULPS = 64
"""Units in the last place that the error allowed to a coordinate must exceed."""


class PiecewiseLinearConfig(ArchitectureConfig):
    """Configuration of :class:`PiecewiseLinear`."""

    units: PositiveInt
    """Hidden units of each coordinate: two for each distinct value and one more, for the coordinate that has most."""


@final
class Ramps(nn.Module):
    r"""Compute :math:`t_0 + \sum_k a_k [\mathrm{relu}(x - t_k) - \mathrm{relu}(x - t_{k+1})]` for each coordinate.

    These are two layers of ReLU units, summed piece by piece: each difference is the part of x that lies between two
    knots, computed by clamping. All terms have one sign, so that float32 keeps its digits; the sum of ReLUs with
    alternating weights would lose them.
    """

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.knots: nn.Parameter = nn.Parameter(torch.zeros(size, units))
        self.slopes: nn.Parameter = nn.Parameter(torch.zeros(size, units))

    def forward(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """Sum the pieces; memory B d m for m units a coordinate."""
        above = (x[:, :, None] - self.knots).relu()
        last = above[:, :, -1:]  # the last piece has no end
        inner = torch.minimum(above[:, :, :-1], self.knots.diff(dim=1))
        return self.knots[:, 0] + (torch.cat([inner, last], 2) * self.slopes).sum(2)


@final
class PiecewiseLinear(Autoencoder[PiecewiseLinearConfig]):
    """Stay within eps of the identity on [low, high], with every example an attractor.

    The network shows that an autoencoder can reproduce every input and still memorize its examples.
    :meth:`from_examples` builds it, without training; a network built from a configuration alone is zero until weights
    are loaded. ``fit`` would train it on like any other network.

    Example:
        >>> x = torch.tensor([[0.2, 0.4], [0.7, 0.4]])
        >>> model = PiecewiseLinear.from_examples(x, eps=0.01)
        >>> model.config.units, torch.allclose(model(x), x)
        (5, True)
    """

    config_class: ClassVar[type[ArchitectureConfig]] = PiecewiseLinearConfig

    @classmethod
    def from_examples(
        cls, examples: Float[Tensor, "n *shape"], eps: float, *, low: float = 0.0, high: float = 1.0
    ) -> Self:
        """Build the network of :func:`memzoo.theory.piecewise_linear_map` for these examples.

        Raises:
            ValueError: An example touches the ends of the interval, as pixels of exactly 0 and 1 do: give ``low=-1,
                high=2``. Or two values of a coordinate are too close, or ``eps`` too small, for PyTorch's default
                dtype.
        """
        check_batch(examples, "examples")
        weights = piecewise_linear_map(examples.flatten(1).double(), eps, low=low, high=high)
        dtype = torch.get_default_dtype()
        resolved = RESOLVED_ULPS * torch.finfo(dtype).eps * max(abs(low), abs(high))
        if not (weights.eps > resolved).all():
            worst = int(weights.eps.argmin())
            raise InvalidArgumentError(
                f"{dtype} cannot resolve the pieces of coordinate {worst}: its error may be "
                f"{weights.eps[worst]:.2g}, which must exceed {resolved:.2g}; round the examples so that distinct "
                "values lie farther apart, or raise eps."
            )
        model = cls(shape=tuple(examples.shape[1:]), units=weights.knots.shape[1])
        model.ramps.knots.data.copy_(weights.knots)
        model.ramps.slopes.data.copy_(weights.slopes)
        return model

    @torch.no_grad()
    def fit_closed_form(self, examples: Float[Tensor, "n *shape"], eps: float = 0.01) -> Self:
        """Set the weights to those of :meth:`from_examples`, on [-1, 2] for pixels in [0, 1].

        Raises:
            ValueError: The configuration has another number of units than these examples need.
        """
        built = type(self).from_examples(examples, eps, low=-1.0, high=2.0)
        if built.config != self.config:
            raise InvalidArgumentError(
                f"these examples need units={built.config.units} and shape {built.config.shape}, the network has "
                f"{self.config.units} and {self.config.shape}."
            )
        self.load_state_dict(built.state_dict())
        return self

    def build(self, config: PiecewiseLinearConfig) -> nn.Sequential:
        """Build the ramps between a flattening and an unflattening layer."""
        ramps = Ramps(prod(config.shape), config.units)
        return nn.Sequential(nn.Flatten(), ramps, nn.Unflatten(1, config.shape))

    @property
    def ramps(self) -> Ramps:
        """Return the one module with weights: both layers of the network, coordinate by coordinate."""
        return cast(Ramps, cast(nn.Sequential, self.net)[1])
