"""Mean of one number a row, over batches and processes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.metrics.exact_metric import ExactMetric


class RowMean(ExactMetric):
    """Sum and count of what a subclass measures on each row; NaN before the first row.

    A row that measures NaN, as one with an output that is not finite, makes the mean NaN.
    """

    higher_is_better: bool | None = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def add(self, values: Float[Tensor, " batch"]) -> None:
        """Count these rows in."""
        # not in place: a state made in inference mode could not be changed outside
        self.total = self.total + values.double().sum()
        self.count = self.count + len(values)

    def compute(self) -> Float[Tensor, ""]:
        """Mean over all rows so far, float64."""
        return self.total / self.count
