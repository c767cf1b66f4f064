"""The mean of one number a row, over batches and processes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.metrics.exact_metric import ExactMetric


class RowMean(ExactMetric):
    """Average what a subclass measures on each row; NaN before the first row.

    A single NaN makes the mean NaN; an output that is not finite gives one.
    """

    higher_is_better: bool | None = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def add(self, values: Float[Tensor, " batch"]) -> None:
        """Add the values of these rows."""
        # An addition in place would fail on a state that was made in inference mode.
        self.total = self.total + values.double().sum()
        self.count = self.count + len(values)

    def compute(self) -> Float[Tensor, ""]:
        """Compute the mean over all rows so far, in float64."""
        return self.total / self.count
