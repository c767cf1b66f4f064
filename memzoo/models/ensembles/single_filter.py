"""Very deep linear convolutions of one filter a layer, on small images: every layer as its d x d matrix."""

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

CACHED = 2**20  # numbers in all matrices, up to which their gradients are formed: beyond, memory is what costs


@lru_cache(maxsize=8)
def _shifts(height: int, width: int, kernel: int, dtype: torch.dtype) -> Tensor:
    """Matrices (kernel^2, d * d) of the shifts that a filter weighs: convolving the identity with each unit filter.

    For rows: entry (i, j) of a matrix takes pixel i of the input to pixel j of the output.
    """
    units = torch.eye(kernel * kernel, dtype=dtype).view(-1, 1, kernel, kernel)
    identity = torch.eye(height * width, dtype=dtype).view(-1, 1, height, width)
    moved = torch.nn.functional.conv2d(identity, units, padding=kernel // 2)  # (d in, kernel^2, height, width)
    return moved.flatten(2).transpose(0, 1).flatten(1).contiguous()


class _Chain(torch.autograd.Function):
    """x -> K_L ... K_1 x for E networks at once, one batched product a layer each way and no graph between them.

    Points are rows: the other way round a product with a single column is several times slower.
    """

    @staticmethod
    def forward(ctx: Any, filters: Tensor, x: Tensor, shifts: Tensor, skips: dict[int, int], image: Any) -> Tensor:
        layers, members, _ = filters.shape
        d = x.shape[2]
        matrices = (filters.flatten(0, 1) @ shifts).view(layers, members, d, d)  # transposed: rows in, columns out
        values = x.new_empty(layers + 1, *x.shape)
        values[0] = x
        value = values.unbind(0)
        for layer, matrix in enumerate(matrices.unbind(0), 1):
            torch.bmm(value[layer - 1], matrix, out=value[layer])
            if layer in skips:
                value[layer].add_(value[skips[layer]])
        ctx.save_for_backward(matrices, values, shifts)
        ctx.skips, ctx.image = skips, image
        return value[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        matrices, values, shifts = ctx.saved_tensors
        layers, members, d, _ = matrices.shape
        slopes = torch.zeros_like(values)  # of the loss in each layer's value
        slope, transposed = slopes.unbind(0), matrices.mT.unbind(0)
        slope[-1].copy_(grads[0])
        for layer in range(layers, 0, -1):
            if layer in ctx.skips:
                slope[ctx.skips[layer]].add_(slope[layer])
            torch.baddbmm(slope[layer - 1], slope[layer], transposed[layer - 1], out=slope[layer - 1])
        if matrices.numel() < CACHED:  # the gradient of each matrix, then of its filter
            outer = values[:-1].mT @ slopes[1:]
            gradient = (outer.view(layers * members, d * d) @ shifts.mT).view(layers, members, -1)
            return gradient, None, None, None, None
        height, width, kernel = ctx.image
        shape, edge = (*values.shape[:-1], height, width), kernel // 2
        padded = nn.functional.pad(values.view(shape)[:-1], (edge, edge, edge, edge))
        slopes = slopes.view(shape)[1:]
        gradient = [  # every shift of a layer's input against the slope in its output
            (padded[..., row : row + height, column : column + width] * slopes).sum((-3, -2, -1))
            for row in range(kernel)
            for column in range(kernel)
        ]
        return torch.stack(gradient, -1), None, None, None, None


def single_filter_chain(
    filters: Float[Tensor, "layers members kernel kernel"],
    x: Float[Tensor, "members points height width"],
    skips: dict[int, int] | None = None,
) -> Float[Tensor, "members points height width"]:
    r"""Apply linear networks of one filter a layer, each to its own points.

    The same numbers as so many calls of ``conv2d`` (stride 1, zero padding that keeps the size), at two short batched
    products a layer and step in place of some twenty calls: a layer is the matrix :math:`K_l = \sum_k w_{lk} S_k` of
    shifts :math:`S_k` (Algorithm 1 of the paper's supplement without its padding), and the gradient of all filters
    comes from one product at the end. Differentiable once, in ``filters``.

    Args:
        filters: Of L layers and E networks.
        x: Points of each network.
        skips: ``{layer: earlier}``: the output of layer ``earlier`` (0 the input) is added to that of ``layer``.

    Returns:
        Memory O(L E d^2), d the number of pixels: for small images.

    Example:
        >>> filters, x = torch.randn(5, 2, 3, 3), torch.randn(2, 1, 4, 4)
        >>> single_filter_chain(filters, x).shape
        torch.Size([2, 1, 4, 4])
    """
    height, width = x.shape[2:]
    shifts = _shifts(height, width, filters.shape[-1], filters.dtype).to(filters.device)
    image = (height, width, filters.shape[-1])
    result: Any = _Chain.apply(filters.flatten(2), x.flatten(2), shifts, skips or {}, image)
    return result.view_as(x)
