"""Random points in float64, from the generator that each test seeds."""

import torch


def normal(*shape: int) -> torch.Tensor:
    """Draw numbers of mean 0 and variance 1."""
    return torch.randn(*shape, dtype=torch.float64)


def uniform(*shape: int) -> torch.Tensor:
    """Draw numbers in [0, 1)."""
    return torch.rand(*shape, dtype=torch.float64)
