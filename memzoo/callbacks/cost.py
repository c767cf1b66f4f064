"""Choose how many starts can be iterated at a reasonable cost."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MOST = 200
LEAST = 16
AFFORDABLE_OPERATIONS = 5e11
"""For all starts together: some seconds on one core."""


def affordable_starts(f: nn.Module, row: Tensor, steps: int) -> int:
    """Return 200, or as many as can be iterated ``steps`` times with 5e11 operations, but at least 16.

    The count depends on the map alone and not on the machine, so that values can be compared.

    Args:
        f: Self-map.
        row: One point (1, *shape).
        steps: Number of iterations.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        f(row)
    # A map of elementwise operations counts as none: the counter knows matrix products, convolutions and attention.
    operations = counter.get_total_flops() * max(steps, 1)
    if operations == 0:
        return MOST
    return int(min(MOST, max(LEAST, AFFORDABLE_OPERATIONS // operations)))
