"""A two-layer ReLU network that reproduces every input and still has its examples as attractors.

This is the construction in the proof of Theorem 6 of the paper (Theorem 7 of its Supplement I.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError
from memzoo.theory.span import check_examples

MARGIN = 0.9
"""Share of eps that is used, so that the error stays strictly below eps."""


@dataclass(frozen=True)
class PiecewiseLinearMap:
    """Apply one increasing piecewise linear function to each coordinate, as the weights of a two-layer ReLU network.

    Shorter rows are padded on the left with units that do nothing: knot ``low``, slope 0.
    """

    knots: Float[Tensor, "d m"]
    """Points where each hidden unit relu(x_j - knot) begins to act, increasing in a row; the first is ``low``."""
    slopes: Float[Tensor, "d m"]
    """Slope of the function from that knot to the next."""
    delta: Float[Tensor, " d"]
    """Half the width of the contracting piece around each value."""
    eps: Float[Tensor, " d"]
    """Largest reconstruction error of each coordinate."""
    low: float
    """Lower end of the interval, mapped to itself."""
    high: float
    """Upper end of the interval, mapped to itself."""

    @property
    def output_weights(self) -> Float[Tensor, "d m"]:
        """Compute the second layer: the change of slope at each knot."""
        # The slope after knot k is the sum of the weights up to k.
        return torch.cat([self.slopes[:, :1], self.slopes.diff(dim=1)], 1)

    @property
    def contraction(self) -> Float[Tensor, " d"]:
        """Compute the slopes (delta - eps) / delta at the examples: eigenvalues of the Jacobian, in [0, 1)."""
        return (self.delta - self.eps) / self.delta

    @property
    def change_points(self) -> int:
        """Count the points inside the interval where a coordinate's slope changes: two for each distinct value."""
        return int((self.knots > self.low).sum())

    @property
    def unit_count(self) -> int:
        """Count the hidden units that act: one more than change points, for each coordinate.

        For n distinct values these are 2n + 1, not the n + 1 that the paper counts.
        """
        return self.change_points + len(self.knots)

    def __call__(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """Compute low plus the sum of output weight times relu(x_j - knot); best in float64."""
        hidden = (x[:, :, None] - self.knots).relu()
        return self.low + (hidden * self.output_weights).sum(2)


def piecewise_linear_map(
    examples: Float[Tensor, "n d"], eps: float, *, low: float = 0.0, high: float = 1.0
) -> PiecewiseLinearMap:
    r"""Construct the network in the proof of Theorem 6, coordinate by coordinate.

    Around each of the distinct values :math:`v_i` of a coordinate the function is :math:`v_i + a (x - v_i)` for
    :math:`|x - v_i| \le \delta`, with :math:`a = (\delta - \epsilon) / \delta < 1`, and linear between. The function is
    therefore never farther than :math:`\epsilon` from the identity and contracts at each :math:`v_i`. :math:`\delta` is
    a quarter of the smallest gap, and at most half the distance to the ends, which are repelling fixed points
    (Supplement I.1). Examples that share a coordinate, as images do, count once there.

    All combinations of one value a coordinate are attractors, see :func:`attractor_count`.

    Args:
        examples: One example a row, inside the open interval. One example is enough.
        eps: Strict bound on the L2 reconstruction error :math:`\|f(x) - x\|_2` for *every* x in the cube, hence on its
            mean under any distribution there. Each coordinate gets eps / sqrt(d), or delta where that is less.
        low: Lower end of the interval that the function is built for; below it f is ``low``.
        high: Upper end; above it iterates of f diverge to infinity. Pixels of exactly 0 or 1 need a wider interval,
            such as -1 to 2.

    Returns:
        Weights in the dtype of ``examples``, computed in float64. Evaluation costs B d m for m units a coordinate.

    Raises:
        ValueError: An example touches the ends of the interval, or ``eps`` is not positive.

    Example:
        >>> f = piecewise_linear_map(torch.tensor([[0.25], [0.75]], dtype=torch.float64), eps=0.05)
        >>> f.change_points, f.unit_count, round(f.contraction.item(), 2)
        (4, 5, 0.64)
        >>> f(torch.tensor([[0.25], [0.3]], dtype=torch.float64)).flatten()
        tensor([0.2500, 0.2820], dtype=torch.float64)
    """
    check_examples(examples)
    if not 0 < eps < math.inf:
        raise InvalidArgumentError(f"eps must be a finite number > 0, got {eps!r}.")
    x = examples.double()
    if not low < x.min() <= x.max() < high:
        raise InvalidArgumentError(
            f"the construction needs examples inside the open interval ({low:g}, {high:g}), they span [{x.min():g}, "
            f"{x.max():g}]; scale them into it, or widen it, e.g. low={x.min() - 1:g}, high={x.max() + 1:g}."
        )
    columns = _distinct_values(x)
    # If each coordinate is off by eps / sqrt(d), the L2 norm of all is eps.
    allowed = MARGIN * eps / math.sqrt(len(columns))
    knots, slopes, delta, errors = zip(
        *(_construct_coordinate(values, allowed, low, high) for values in columns), strict=True
    )
    parts = (_stack_rows(knots, low), _stack_rows(slopes, 0.0), torch.stack(delta), torch.stack(errors))
    return PiecewiseLinearMap(*(part.to(examples.dtype) for part in parts), low=low, high=high)


def attractor_count(examples: Float[Tensor, "n d"]) -> int:
    """Count the attractors of the map of Theorem 6: the product over coordinates of the numbers of distinct values.

    n of them are the examples; the others, up to n^d - n, are spurious: mixtures that take each coordinate from some
    example.

    Example:
        >>> attractor_count(torch.tensor([[0.2, 0.3], [0.4, 0.3], [0.6, 0.9]]))  # 3 x 2
        6
    """
    check_examples(examples)
    return math.prod(len(values) for values in _distinct_values(examples))


def attractors(examples: Float[Tensor, "n d"], *, limit: int = 100_000) -> Float[Tensor, "count d"]:
    """List all attractors of the map of Theorem 6, the examples among them; for small cases.

    Raises:
        ValueError: There are more than ``limit``.

    Example:
        >>> attractors(torch.tensor([[0.2, 0.3], [0.4, 0.3], [0.6, 0.9]])).shape
        torch.Size([6, 2])
    """
    count = attractor_count(examples)
    if count > limit:
        raise InvalidArgumentError(
            f"the map has {count} attractors, more than limit = {limit}; attractor_count counts them."
        )
    combinations = torch.meshgrid(*_distinct_values(examples), indexing="ij")
    return torch.stack([values.flatten() for values in combinations], 1)


def _distinct_values(examples: Tensor) -> list[Tensor]:
    """Sort the distinct values of each coordinate."""
    return [column.unique() for column in examples.T]


def _construct_coordinate(
    values: Tensor, allowed: float, low: float, high: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute knots, slopes, delta and eps for the sorted distinct values of one coordinate."""
    low_end = values.new_tensor([low])
    high_end = values.new_tensor([high])
    room = torch.cat([values[:1] - low_end, high_end - values[-1:]]).min() / 2
    delta = torch.cat([values.diff() / 4, room[None]]).min()
    eps = delta.clamp(max=allowed)
    # The function is known at the ends of each contracting piece, v - delta and v + delta, and linear between.
    points = torch.cat([low_end, _ends_around(values, delta), high_end])
    images = torch.cat([low_end, _ends_around(values, delta - eps), high_end])
    return points[:-1], images.diff() / points.diff(), delta, eps


def _ends_around(values: Tensor, half_width: Tensor) -> Tensor:
    """List the two ends of the interval of this half width around each value, in order."""
    return torch.stack([values - half_width, values + half_width], 1).flatten()


def _stack_rows(rows: Sequence[Tensor], value: float) -> Float[Tensor, "d m"]:
    """Stack rows of different lengths, padded on the left with ``value``."""
    longest = max(len(row) for row in rows)
    return torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0), value=value) for row in rows])
