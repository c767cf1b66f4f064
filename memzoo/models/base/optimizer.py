"""Optimizers by name."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from memzoo.models.base.config import Training

OF_TORCH: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adaptive": torch.optim.SGD,
}


def optimizer_of(training: Training, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that a training asks for, over these parameters."""
    if training.optimizer != "muon":
        return OF_TORCH[training.optimizer](parameters, lr=training.lr, weight_decay=training.weight_decay)
    from timm.optim.muon import Muon  # seconds, and only here

    return Muon(parameters, lr=training.lr, weight_decay=training.weight_decay, betas=(0.9, 0.999))
