"""Draw small networks with a few examples: some are trained to store them, some are built so, and others must not."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from tools.oracles.small_layers import Cells, Memory, NearestCode, Round, SinglePrecision

WIDTH = 24
"""Width of the hidden layers."""
TRAINING = 400
"""Optimizer steps of a training, on all examples at once."""
MARGINS = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.05}
"""Margin that the oracle keeps for the rounding of each type: orbits may amplify it."""


@dataclass(frozen=True)
class SmallNetwork:
    """Hold a network and its examples."""

    kind: str
    module: nn.Module
    examples: Tensor
    margin: float
    """Relative margin that an oracle has to keep for the rounding of the network."""
    coarse: bool = False
    """Whether its outputs rest under small steps."""


def draw_network(seed: int, number: int) -> SmallNetwork:
    """Draw the network of this number; the kinds take turns."""
    rng = np.random.default_rng([seed, number])
    kind = list(KINDS)[number % len(KINDS)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        return KINDS[kind](rng, kind)


def _draw_examples(rng: Generator, dim: int | None = None) -> Tensor:
    """Draw two to five examples in 1 to 12 dimensions."""
    dim = dim or int(rng.integers(1, 13))
    return torch.from_numpy(rng.standard_normal((int(rng.integers(2, 6)), dim)))


def _finish(rng: Generator, kind: str, module: nn.Module, examples: Tensor, *, coarse: bool = False) -> SmallNetwork:
    """Finish a network in eval mode, in double or in single precision."""
    dtype = torch.float64 if rng.random() < 0.6 else torch.float32
    module = module.to(dtype).eval().requires_grad_(False)
    return SmallNetwork(kind, module, examples.to(dtype), MARGINS[dtype], coarse)


# Trained


def _train(module: nn.Module, examples: Tensor) -> None:
    """Train a network to reproduce its examples."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(TRAINING):
        optimizer.zero_grad()
        loss = (module(examples) - examples).square().mean()
        loss.backward()
        optimizer.step()


def _build_dense(rng: Generator, dim: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(dim, WIDTH), activation()]
    for _ in range(int(rng.integers(0, 3))):
        layers += [nn.Linear(WIDTH, WIDTH), activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, dim)).double()


def _make_dense(activation: Callable[[], nn.Module]) -> Callable[[Generator, str], SmallNetwork]:
    def make(rng: Generator, kind: str) -> SmallNetwork:
        examples = _draw_examples(rng)
        module = _build_dense(rng, examples.shape[1], activation)
        _train(module, examples)
        return _finish(rng, kind, module, examples)

    return make


def _make_convolution(rng: Generator, kind: str) -> SmallNetwork:
    examples = _draw_examples(rng, 16)
    activation = [nn.ReLU, nn.Tanh, nn.GELU][int(rng.integers(3))]
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), activation(), nn.Conv2d(8, 1, 3, padding=1)]
    module = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), *convolutions, nn.Flatten()).double()
    _train(module, examples)
    return _finish(rng, kind, module, examples)


def _make_batch_norm(rng: Generator, kind: str) -> SmallNetwork:
    """Make a network whose batch norm has seen noisy copies of the examples before it is trained in eval mode."""
    examples = _draw_examples(rng)
    dim = examples.shape[1]
    layers = [nn.Linear(dim, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, dim)]
    module = nn.Sequential(*layers).double()
    noisy = examples.repeat(20, 1)
    for _ in range(20):
        module(noisy + 0.3 * torch.randn_like(noisy))
    module.eval()
    _train(module, examples)
    return _finish(rng, kind, module, examples)


def _make_untrained(rng: Generator, kind: str) -> SmallNetwork:
    examples = _draw_examples(rng)
    module = _build_dense(rng, examples.shape[1], [nn.ReLU, nn.Tanh, nn.GELU][int(rng.integers(3))])
    gain = 10 ** rng.uniform(-1, 0.7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= gain
    return _finish(rng, kind, module, examples)


# In other arithmetics


def _make_single_only(rng: Generator, kind: str) -> SmallNetwork:
    examples = _draw_examples(rng)
    inner = _build_dense(rng, examples.shape[1], nn.Tanh)
    _train(inner, examples)
    network = _finish(rng, kind, SinglePrecision(inner), examples)
    network.module.float()
    return SmallNetwork(kind, network.module, examples.float(), MARGINS[torch.float32])


def _make_half(dtype: torch.dtype) -> Callable[[Generator, str], SmallNetwork]:
    def make(rng: Generator, kind: str) -> SmallNetwork:
        examples = _draw_examples(rng)
        stored = rng.random() < 0.5
        if stored:
            module: nn.Module = Memory(examples, 10 ** rng.uniform(0, 2))
        else:
            module = _build_dense(rng, examples.shape[1], nn.Tanh)
            _train(module, examples)
        module = module.to(dtype).eval().requires_grad_(False)
        return SmallNetwork(kind, module, examples.to(dtype), MARGINS[dtype])

    return make


def _make_rounded(rng: Generator, kind: str) -> SmallNetwork:
    """Make a trained network that rounds its activations and its outputs, as quantised ones do."""
    examples = _draw_examples(rng)
    inner = _build_dense(rng, examples.shape[1], nn.ReLU)
    _train(inner, examples)
    step = 2.0 ** int(rng.integers(-8, -1))
    layers: list[nn.Module] = []
    for layer in inner:
        layers += [layer, Round(step)] if isinstance(layer, nn.Linear) else [layer]
    return _finish(rng, kind, nn.Sequential(*layers), examples, coarse=True)


# Built


def _make_memory(rng: Generator, kind: str) -> SmallNetwork:
    examples = _draw_examples(rng) * 10 ** rng.uniform(-3, 3)
    size = examples.square().sum(1).mean().item()
    return _finish(rng, kind, Memory(examples, 10 ** rng.uniform(-1, 2.5) / size), examples)


def _make_codebook(rng: Generator, kind: str) -> SmallNetwork:
    """Make a codebook that holds the examples, or points near them, or misses one of them."""
    examples = _draw_examples(rng) * 10 ** rng.uniform(-6, 6)
    codes = examples + 10 ** rng.uniform(-4, 0) * torch.randn_like(examples) * examples.abs().mean()
    if rng.random() < 0.3:
        codes = codes[1:]
    return _finish(rng, kind, NearestCode(codes), examples, coarse=True)


def _make_shared(rng: Generator, kind: str) -> SmallNetwork:
    """Make a network that sends several examples to one of them."""
    examples = _draw_examples(rng) * 10 ** rng.uniform(-3, 3)
    kept = examples[: max(1, len(examples) - 2)]
    dim = examples.shape[1]
    rate = rng.uniform(0, 0.99)
    matrices = rate * torch.eye(dim, dtype=torch.float64).expand(len(kept), dim, dim)
    return _finish(rng, kind, Cells(kept.clone(), matrices.clone(), None, None), examples)


def _make_cells(
    draw_matrix: Callable[[Generator, int], np.ndarray], *, kink: bool = False, bounded: bool = False
) -> Callable[[Generator, str], SmallNetwork]:
    """Return a maker of networks with a drawn Jacobian at a centre near each example."""

    def make(rng: Generator, kind: str) -> SmallNetwork:
        size = 10 ** rng.uniform(-6, 6)
        examples = _draw_examples(rng, int(rng.integers(1 if kink else 2, 7))) * size
        shift = 10 ** rng.uniform(-9, -2) * size * float(rng.random() < 0.7)
        centres = examples + shift * torch.randn_like(examples)
        dim = examples.shape[1]
        matrices = torch.stack([torch.from_numpy(draw_matrix(rng, dim)) for _ in examples])
        slopes = _draw_slopes(rng) if kink else None
        module = Cells(centres, matrices, slopes, 1e-2 * size if bounded else None)
        return _finish(rng, kind, module, examples)

    return make


def _draw_slopes(rng: Generator) -> tuple[float, float]:
    """Draw the slopes on both sides of a kink; now and then both are 1, and nothing is there but the rectifiers."""
    if rng.random() < 0.2:
        return 1.0, 1.0
    return float(rng.uniform(-1.6, 1.6)), float(rng.uniform(-1.6, 1.6))


def _scale_to_radius(matrix: np.ndarray, radius: float) -> np.ndarray:
    return matrix * radius / max(np.abs(np.linalg.eigvals(matrix)).max(), 1e-300)


def _draw_any_matrix(rng: Generator, dim: int) -> np.ndarray:
    return _scale_to_radius(rng.standard_normal((dim, dim)), rng.uniform(0.2, 1.4))


def _draw_kink_matrix(rng: Generator, dim: int) -> np.ndarray:
    """Draw an orthogonal matrix, or the identity, where each coordinate has a kink of its own."""
    return np.eye(dim) if rng.random() < 0.5 else np.linalg.qr(rng.standard_normal((dim, dim)))[0]


def _draw_slow_matrix(rng: Generator, dim: int) -> np.ndarray:
    """Draw a Jordan-like matrix of radius .9 to .998: orbits swing out up to a thousandfold before they come in."""
    matrix = (1 - 10 ** rng.uniform(-2.7, -1)) * np.eye(dim)
    matrix[0, 1:] = 10 ** rng.uniform(-1, 1)
    return matrix


def _draw_turning_matrix(rng: Generator, dim: int) -> np.ndarray:
    """Draw a rotation times .8 to 1.3, or minus the identity: around it, what does not come in cycles."""
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0] if rng.random() < 0.5 else -np.eye(dim)
    return rng.choice([rng.uniform(0.8, 1.3), 1.0]) * turn


KINDS: dict[str, Callable[[Generator, str], SmallNetwork]] = {
    "ReLU": _make_dense(nn.ReLU),
    "tanh": _make_dense(nn.Tanh),
    "GELU": _make_dense(nn.GELU),
    "convolution": _make_convolution,
    "batch norm": _make_batch_norm,
    "untrained": _make_untrained,
    "attention": _make_memory,
    "float32 only": _make_single_only,
    "float16": _make_half(torch.float16),
    "bfloat16": _make_half(torch.bfloat16),
    "rounded": _make_rounded,
    "codebook": _make_codebook,
    "shared limits": _make_shared,
    "cells": _make_cells(_draw_any_matrix),
    "kinks": _make_cells(_draw_kink_matrix, kink=True),
    "cycles": _make_cells(_draw_turning_matrix, bounded=True),
    "slow transients": _make_cells(_draw_slow_matrix),
}
