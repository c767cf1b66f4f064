"""The share of training examples that some iterated start comes close to (Section 3 of the paper)."""

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo.dynamics import close_pairs
from memzoo.dynamics.orbits import resolve_eps
from memzoo.metrics.exact_metric import ExactMetric


def recovery_probability(
    points: Float[Tensor, "batch *shape"], examples: Float[Tensor, "n *shape"], eps: float | Float[Tensor, " n"] | None
) -> Float[Tensor, ""]:
    r"""Compute the share of the examples within ``eps`` of some point, in [0, 1]: the paper's R_t.

    :math:`R_t = P_{x_0}(\min_z \|f^t(z) - x_0\|_2 < \epsilon)` (Section 3), the probability over the training examples
    :math:`x_0` and the minimum over starts z; ``points`` are the :math:`f^t(z)`. Each distance is decided by
    subtraction in float64. For the whole curve over t see :func:`memzoo.dynamics.recovery_curve`.

    Args:
        points: Points of the orbits at time t. A point that is not finite is near no example. Without points the
            share is 0.
        examples: Training examples; a repeated example counts as often as it occurs.
        eps: Radius, L2, in units of the data, one for all examples or one for each. It decides the answer, so it has to
            be given; None asks for :func:`memzoo.dynamics.example_eps`, the usual choice.

    Returns:
        The share in float64. Time O(B n d), memory O(n d).

    Raises:
        NonFiniteError: The examples hold NaN or infinity.
        ValueError: Points and examples have different shapes, or ``eps`` is not positive.

    Example:
        >>> recovery_probability(torch.tensor([[0.9], [1.05]]), torch.tensor([[1.0], [-1.0]]), eps=0.2)
        tensor(0.5000, dtype=torch.float64)
    """
    check_batch(examples, "examples")
    return (_count_hits(points, examples, resolve_eps(eps, examples)) > 0).double().mean()


def _count_hits(points: Tensor, examples: Tensor, eps: Tensor) -> Int[Tensor, " n"]:
    """Count the points within ``eps`` of each example."""
    check_same_shape(points, examples, "points and examples")
    _, example = close_pairs(points, examples, eps)
    return torch.bincount(example, minlength=len(examples))


@final
class RecoveryProbability(ExactMetric):
    """Compute :func:`recovery_probability` over batches and processes: an example counts once a batch has reached it.

    The points of one value should all belong to one t; reset the metric before the next t. NaN before the first point.

    Args:
        examples: Training examples.
        eps: Radius, L2, in units of the data, one for all examples or one for each; None for
            :func:`memzoo.dynamics.example_eps`.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = RecoveryProbability(torch.tensor([[1.0], [-1.0]]), eps=0.2)
        >>> metric.update(torch.tensor([[0.9]]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
        >>> metric.update(torch.tensor([[-1.1]]))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    higher_is_better: bool | None = True
    plot_upper_bound: float | None = 1.0
    hits: Tensor
    count: Tensor

    def __init__(
        self, examples: Float[Tensor, "n *shape"], eps: float | Float[Tensor, " n"] | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_batch(examples, "examples")
        self.examples: Tensor = examples.detach()
        self.eps: Tensor = resolve_eps(eps, self.examples)
        # Counts can be summed over processes; an example is reached where the sum is positive.
        self.add_state("hits", torch.zeros(len(examples), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, points: Float[Tensor, "batch *shape"]) -> None:
        """Add the points of a batch of orbits."""
        self.examples = self.examples.to(points.device)
        self.hits = self.hits + _count_hits(points, self.examples, self.eps)
        self.count = self.count + len(points)

    def compute(self) -> Float[Tensor, ""]:
        """Compute the share of the examples reached so far, in float64."""
        reached = (self.hits > 0).double().mean()
        return torch.where(self.count > 0, reached, torch.nan)
