"""A two-layer ReLU network that reproduces everything and still has its examples as attractors (Theorem 6)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.errors import InvalidArgumentError
from memzoo.theory.span import check_examples

MARGIN = 0.9  # of eps that is used, so that the error stays strictly below it


@dataclass(frozen=True)
class PiecewiseLinearMap:
    """One increasing piecewise linear function a coordinate, as the weights of a two-layer ReLU network.

    Rows are filled up from the left with units that do nothing: knot ``low``, slope 0.
    """

    knots: Float[Tensor, "d m"]
    """Where each hidden unit relu(x_j - knot) begins to act, increasing in a row; the first real one at ``low``."""
    slopes: Float[Tensor, "d m"]
    """Slope of the function from that knot to the next."""
    delta: Float[Tensor, " d"]
    """Half the width of the contracting piece around each value."""
    eps: Float[Tensor, " d"]
    """Largest reconstruction error of each coordinate."""
    low: float
    """Lower end of the interval, mapped to itself."""
    high: float
    """Upper end, likewise."""

    @property
    def output_weights(self) -> Float[Tensor, "d m"]:
        """Second layer: what each unit adds to the slope."""
        return torch.cat([self.slopes[:, :1], self.slopes.diff(dim=1)], 1)

    @property
    def contraction(self) -> Float[Tensor, " d"]:
        """Slope (delta - eps) / delta at the examples: the eigenvalues of the Jacobian there, in [0, 1)."""
        return (self.delta - self.eps) / self.delta

    @property
    def change_points(self) -> int:
        """Points inside the interval where a coordinate's slope changes: two for each distinct value."""
        return int((self.knots > self.low).sum())

    @property
    def unit_count(self) -> int:
        """Hidden units that do something: one more than change points, for each coordinate.

        For n distinct values 2n + 1, not the n + 1 that the paper counts.
        """
        return self.change_points + len(self.knots)

    def __call__(self, x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """The network: low + the sum of output weight times relu(x_j - knot); best in float64."""
        hidden = (x[:, :, None] - self.knots).relu()
        return self.low + (hidden * self.output_weights).sum(2)


def piecewise_linear_map(
    examples: Float[Tensor, "n d"], eps: float, *, low: float = 0.0, high: float = 1.0
) -> PiecewiseLinearMap:
    r"""The construction in the proof of Theorem 6, coordinate by coordinate.

    Around each of the distinct values :math:`v_i` of a coordinate the function is
    :math:`v_i + a (x - v_i)` for :math:`|x - v_i| \le \delta`, with :math:`a = (\delta - \epsilon) / \delta < 1`, and
    linear between. So it is never farther than :math:`\epsilon` from the identity and contracts at each :math:`v_i`.
    :math:`\delta` is a quarter of the smallest gap, and at most half the distance to the ends, which are
    repelling fixed points. Examples that share a coordinate, as images do, count once there.

    All combinations of one value a coordinate are attractors, see :func:`attractor_count`.

    Args:
        examples: One example a row, inside the open interval. One example is enough.
        eps: Bound on the L2 reconstruction error :math:`\|f(x) - x\|_2`, strictly, for *every* x in the cube, hence on
            its mean under any distribution there. Each coordinate gets eps / sqrt(d), or delta where that is less.
        low: Lower end of the interval that the function is built for; below it f is ``low``.
        high: Upper end; above it f runs off to infinity. Pixels of exactly 0 or 1 need a wider interval, such as -1 to
            2.

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
    columns = [column.unique() for column in x.T]
    allowed = MARGIN * eps / math.sqrt(len(columns))
    pieces = [_one_coordinate(values, allowed, low, high) for values in columns]
    units = max(len(knots) for knots, *_ in pieces)
    tables = [torch.stack([_filled(piece[k], units, value) for piece in pieces]) for k, value in ((0, low), (1, 0.0))]
    narrow = [torch.stack([piece[k] for piece in pieces]) for k in (2, 3)]
    return PiecewiseLinearMap(*(part.to(examples.dtype) for part in (*tables, *narrow)), low=low, high=high)


def attractor_count(examples: Float[Tensor, "n d"]) -> int:
    """Attractors of the map of Theorem 6: the product over coordinates of the numbers of distinct values.

    n of them are the examples; the rest, up to n^d - n, is spurious: mixtures that take each coordinate from some
    example.

    Example:
        >>> attractor_count(torch.tensor([[0.2, 0.3], [0.4, 0.3], [0.6, 0.9]]))  # 3 x 2
        6
    """
    check_examples(examples)
    return math.prod(len(column.unique()) for column in examples.T)


def attractors(examples: Float[Tensor, "n d"], *, limit: int = 100_000) -> Float[Tensor, "count d"]:
    """All of them, the examples among them; for small cases.

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
    columns = [column.unique() for column in examples.T]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*columns, indexing="ij")], 1)


def _one_coordinate(values: Tensor, allowed: float, low: float, high: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Knots, slopes, delta and eps for the sorted distinct values of one coordinate."""
    room = torch.stack([values[0] - low, high - values[-1]]).min() / 2
    delta = torch.cat([values.diff() / 4, room[None]]).min()
    eps = delta.clamp(max=allowed)
    # f at the ends of each piece: the values where the function is known
    points = torch.stack([values - delta, values + delta], 1).flatten()
    images = torch.stack([values - (delta - eps), values + (delta - eps)], 1).flatten()
    low_end, high_end = values.new_tensor([low]), values.new_tensor([high])
    points, images = torch.cat([low_end, points, high_end]), torch.cat([low_end, images, high_end])
    return points[:-1], images.diff() / points.diff(), delta, eps


def _filled(row: Tensor, units: int, value: float) -> Tensor:
    return torch.cat([row.new_full((units - len(row),), value), row])
