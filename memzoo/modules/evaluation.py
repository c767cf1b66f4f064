"""Measure a module without leaving a trace on its training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, full float32 products, compiled parts run eagerly; all of it is restored.

    Every submodule gets its own mode back. A precision set through the newer ``torch.backends.fp32_precision`` is left
    as the user set it.
    """
    training = [part for part in module.modules() if part.training]
    precision = _matmul_precision()
    device = next((p.device.type for p in module.parameters()), "cpu")
    module.eval()
    convolutions = torch.backends.cudnn.allow_tf32 if precision else False
    if precision:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    try:
        with (
            torch.inference_mode(False),  # as validation is run in
            torch.no_grad(),
            torch.autocast(device, enabled=False),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        if precision:
            torch.set_float32_matmul_precision(precision)
            torch.backends.cudnn.allow_tf32 = convolutions
        for part in training:
            part.training = True


def _matmul_precision() -> str | None:
    """The precision of float32 products, None where the newer interface is in use: torch forbids mixing the two."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None
