"""What a map can be measured with at a reasonable price: how many starts, which way to its leading eigenvalues."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MOST, LEAST = 200, 16  # starts
PRICE = 5e11  # operations for all of them: some seconds on a core


def affordable_starts(f: nn.Module, row: Tensor, steps: int) -> int:
    """200, or as many as can be iterated ``steps`` times with 5e11 operations, at least 16.

    The count depends on the map alone and not on the machine, so that values can be compared.

    Args:
        f: Self-map.
        row: One point (1, *shape).
        steps: Iterations.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        f(row)
    price = counter.get_total_flops() * max(steps, 1)
    return MOST if price == 0 else int(min(MOST, max(LEAST, PRICE // price)))
