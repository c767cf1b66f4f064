"""Evaluate small networks in float64 by numpy, from the formula of each layer and the numbers in its parameters.

Nothing of torch computes here but the error function, which numpy lacks.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tools.oracles.small_layers import Cells, Memory, NearestCode, Round, SinglePrecision

Points = NDArray[np.float64]
Formula = Callable[[Points], Points]


def read_formula(module: nn.Module) -> Formula:
    """Read the formula of a network, with the numbers that its parameters have now."""
    return READERS[type(module)](module)


def _read(tensor: Tensor | None) -> Any:
    """Read a tensor as numbers in float64; a bias that is missing is 0."""
    return 0.0 if tensor is None else tensor.detach().double().numpy().copy()


def _read_chain(module: nn.Sequential) -> Formula:
    formulas = [read_formula(layer) for layer in module]

    def evaluate(x: Points) -> Points:
        for formula in formulas:
            x = formula(x)
        return x

    return evaluate


def _read_linear(module: nn.Linear) -> Formula:
    weight = _read(module.weight)
    bias = _read(module.bias)
    return lambda x: x @ weight.T + bias


def _read_convolution(module: nn.Conv2d) -> Formula:
    """Read a convolution of odd width that keeps the size of its images."""
    weight = _read(module.weight)
    bias = _read(module.bias)[:, None, None]
    margin = weight.shape[-1] // 2

    def evaluate(x: Points) -> Points:
        padded = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (2, 3))
        return np.einsum("bihwuv,oiuv->bohw", windows, weight) + bias

    return evaluate


def _read_batch_norm(module: nn.BatchNorm1d) -> Formula:
    """Read a batch norm in eval mode, which is affine."""
    scale = _read(module.weight) / np.sqrt(_read(module.running_var) + module.eps)
    mean = _read(module.running_mean)
    bias = _read(module.bias)
    return lambda x: (x - mean) * scale + bias


def _read_memory(module: Memory) -> Formula:
    keys = _read(module.keys)
    beta = module.beta

    def evaluate(x: Points) -> Points:
        scores = beta * (x @ keys.T - (keys**2).sum(1) / 2)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True) @ keys

    return evaluate


def _find_nearest(x: Points, centres: Points) -> NDArray[np.intp]:
    return ((x[:, None] - centres) ** 2).sum(-1).argmin(1)


def _read_codes(module: NearestCode) -> Formula:
    codes = _read(module.codes)
    return lambda x: codes[_find_nearest(x, codes)]


def _read_cells(module: Cells) -> Formula:
    centres = _read(module.centres)
    matrices = _read(module.matrices)
    right, left = module.slopes or (1.0, 1.0)

    def evaluate(x: Points) -> Points:
        nearest = _find_nearest(x, centres)
        z = x - centres[nearest]
        z = np.where(z > 0, right, left) * z
        moved = np.einsum("bij,bj->bi", matrices[nearest], z)
        if module.bound is not None:
            moved = module.bound * np.tanh(moved / module.bound)
        return centres[nearest] + moved

    return evaluate


def _read_gelu(_: nn.GELU) -> Formula:
    return lambda x: x * (1 + torch.erf(torch.from_numpy(x / np.sqrt(2))).numpy()) / 2


def _read_unflatten(module: nn.Unflatten) -> Formula:
    shape = tuple(module.unflattened_size)
    return lambda x: x.reshape(len(x), *shape)


def _read_round(module: Round) -> Formula:
    return lambda x: np.round(x / module.step) * module.step


READERS: dict[type[nn.Module], Callable[[Any], Formula]] = {
    nn.Sequential: _read_chain,
    nn.Linear: _read_linear,
    nn.Conv2d: _read_convolution,
    nn.BatchNorm1d: _read_batch_norm,
    nn.ReLU: lambda _: lambda x: np.maximum(x, 0),
    nn.Tanh: lambda _: np.tanh,
    nn.GELU: _read_gelu,
    nn.Flatten: lambda _: lambda x: x.reshape(len(x), -1),
    nn.Unflatten: _read_unflatten,
    Memory: _read_memory,
    NearestCode: _read_codes,
    Cells: _read_cells,
    Round: _read_round,
    SinglePrecision: lambda module: read_formula(module.inner),
}
"""How the formula of each layer is read; a layer that is missing here has none."""
