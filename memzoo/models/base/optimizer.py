"""The optimizers that a training configuration can name."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from memzoo.models.base.config import Training

TORCH_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    # The step of Theorem 1 is already in the gradient, see OneLayerAutoencoder.objective.
    "adaptive": torch.optim.SGD,
}


def build_optimizer(training: Training, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer that a training configuration names, over these parameters."""
    options: dict[str, Any] = {"lr": training.lr, "weight_decay": training.weight_decay}
    if training.optimizer not in ("sgd", "adaptive"):
        options["betas"] = training.betas
    if training.optimizer != "muon":
        return TORCH_OPTIMIZERS[training.optimizer](parameters, **options)
    # The import of timm takes seconds, and no other optimizer needs it.
    from timm.optim.muon import Muon

    return Muon(parameters, **options)
