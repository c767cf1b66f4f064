"""Random points in float64, from the generator that each test seeds."""

import torch


def normal(*shape: int) -> torch.Tensor:
    """Draw numbers of mean 0 and variance 1."""
    return normal(*shape)


def uniform(*shape: int) -> torch.Tensor:
    """Draw numbers in [0, 1)."""
    return uniform(*shape)
