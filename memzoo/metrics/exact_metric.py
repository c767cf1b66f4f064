"""The base class of all metrics of memzoo: states that keep their precision, and a plot."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class ExactMetric(Metric):
    """Keep the states in float64 and int64, whatever the module around the metric is cast to.

    A metric that is part of a LightningModule is cast by its ``.to(dtype)``, which ``precision="bf16-true"`` calls;
    sums and counts would keep only three digits. Here only devices change. Rows may come in any floating-point dtype,
    in inference mode and under autocast; no gradient flows through ``forward``.
    """

    is_differentiable: bool | None = False
    full_state_update: bool | None = False
    plot_lower_bound: float | None = 0.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A MetricCollection updates only one of two metrics whose states are equal after the first batch, as those of
        # two thresholds are while nothing has passed either. NaN equals nothing, so this state prevents it.
        self.add_state("ungrouped", torch.tensor(torch.nan), dist_reduce_fx="max")

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw ``val``, one value or a list of them over time; the current value when left out.

        Args:
            val: A value that ``forward`` or ``compute`` returned, or a list of such values.
            ax: Matplotlib axes to draw into.

        Returns:
            The figure and the axes.
        """
        return self._plot(val, ax)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        def move(tensor: Tensor) -> Tensor:
            # An empty tensor shows the device that ``fn`` moves to, and ``tensor`` keeps its dtype.
            device = fn(torch.empty(0, dtype=tensor.dtype, device=tensor.device)).device
            return tensor.to(device)

        return super()._apply(move, exclude_state)
