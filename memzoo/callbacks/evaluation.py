"""Measure a module without leaving a trace on its training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, full float32 products; every submodule's own mode and the precision are restored."""
    training = [part for part in module.modules() if part.training]
    precision = torch.get_float32_matmul_precision()
    device = next((p.device.type for p in module.parameters()), "cpu")
    module.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for part in training:
            part.training = True
