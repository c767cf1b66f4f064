"""Very deep linear convolutions of one filter a layer, on small images: every layer as its d x d matrix.

A layer of one filter w is the matrix K = sum_k w_k S_k of fixed shift matrices S_k (Algorithm 1 of the paper's
Supplement E, without its padding). Two short batched products a layer and step replace some twenty calls of PyTorch.
"""

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MATRIX_ELEMENTS = 2**20
"""Elements of all layer matrices up to which the gradient of each matrix is formed; more need too much memory."""


@lru_cache(maxsize=8)
def _shift_matrices(height: int, width: int, kernel: int, dtype: torch.dtype) -> Float[Tensor, "k d*d"]:
    """Compute the matrices of the shifts that a filter weighs, by convolving the identity with each unit filter.

    Points are rows: entry (i, j) of a matrix takes pixel i of the input to pixel j of the output.
    """
    unit_filters = torch.eye(kernel * kernel, dtype=dtype).view(-1, 1, kernel, kernel)
    identity = torch.eye(height * width, dtype=dtype).view(-1, 1, height, width)
    shifted = nn.functional.conv2d(identity, unit_filters, padding=kernel // 2)  # (d, kernel^2, height, width)
    return shifted.flatten(2).transpose(0, 1).flatten(1).contiguous()


class _FilterChain(torch.autograd.Function):
    """Compute K_L ... K_1 x for E networks at once: one batched product a layer each way, and no graph between them.

    Points are rows, because a product with a single column is several times slower.
    """

    @staticmethod
    def forward(ctx: Any, filters: Tensor, x: Tensor, shifts: Tensor, skips: dict[int, int], sizes: Any) -> Tensor:
        layers, members, _ = filters.shape
        d = x.shape[2]
        # the transposes of the layer matrices, since points are rows
        matrices = (filters.flatten(0, 1) @ shifts).view(layers, members, d, d)
        stored = x.new_empty(layers + 1, *x.shape)
        stored[0] = x
        values = stored.unbind(0)
        for layer, matrix in enumerate(matrices.unbind(0), 1):
            torch.bmm(values[layer - 1], matrix, out=values[layer])
            if layer in skips:
                values[layer].add_(values[skips[layer]])
        ctx.save_for_backward(matrices, stored, shifts)
        ctx.skips = skips
        ctx.sizes = sizes
        return values[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        matrices, values, shifts = ctx.saved_tensors
        # the gradient of the loss in the value of each layer, computed from the last layer to the first
        slopes = torch.zeros_like(values)
        gradients = slopes.unbind(0)
        gradients[-1].copy_(grads[0])
        transposed = matrices.mT.unbind(0)
        for layer in range(len(matrices), 0, -1):
            if layer in ctx.skips:
                gradients[ctx.skips[layer]].add_(gradients[layer])
            before = gradients[layer - 1]
            torch.baddbmm(before, gradients[layer], transposed[layer - 1], out=before)
        if matrices.numel() < MATRIX_ELEMENTS:
            of_filters = _differentiate_by_matrices(values[:-1], slopes[1:], shifts)
        else:
            of_filters = _differentiate_by_shifts(values[:-1], slopes[1:], *ctx.sizes)
        return of_filters, None, None, None, None


def _differentiate_by_matrices(inputs: Tensor, slopes: Tensor, shifts: Tensor) -> Float[Tensor, "layers members k"]:
    """Compute the gradient of each layer's matrix, and from it that of the layer's filter."""
    of_matrices = inputs.mT @ slopes
    of_filters = of_matrices.flatten(2).flatten(0, 1) @ shifts.mT
    return of_filters.view(*of_matrices.shape[:2], -1)


def _differentiate_by_shifts(
    inputs: Tensor, slopes: Tensor, height: int, width: int, kernel: int
) -> Float[Tensor, "layers members k"]:
    """Compute the gradient of each filter weight as the product of a shifted input with the slopes of the output."""
    edge = kernel // 2
    padded = nn.functional.pad(inputs.unflatten(-1, (height, width)), (edge, edge, edge, edge))
    slopes = slopes.unflatten(-1, (height, width))
    gradient = [
        (padded[..., row : row + height, column : column + width] * slopes).sum((-3, -2, -1))
        for row in range(kernel)
        for column in range(kernel)
    ]
    return torch.stack(gradient, -1)


def single_filter_chain(
    filters: Float[Tensor, "layers members kernel kernel"],
    x: Float[Tensor, "members points height width"],
    skips: dict[int, int] | None = None,
) -> Float[Tensor, "members points height width"]:
    r"""Apply linear networks of one filter a layer, each to its own points.

    The numbers are those of one call of ``conv2d`` a layer and network (stride 1, zero padding that keeps the size), at
    two short batched products a layer and step in place of some twenty calls: a layer is the matrix
    :math:`K_l = \sum_k w_{lk} S_k` of shifts :math:`S_k` (Algorithm 1 of the paper's supplement without its padding),
    and the gradient of all filters comes from one product at the end. Differentiable once, in ``filters``.

    Args:
        filters: Filters of L layers and E networks.
        x: Points of each network.
        skips: ``{layer: earlier}``: the output of layer ``earlier`` (0 the input) is added to that of ``layer``.

    Returns:
        Memory O(L E d^2), d the number of pixels: for small images.

    Example:
        >>> filters, x = torch.randn(5, 2, 3, 3), torch.randn(2, 1, 4, 4)
        >>> single_filter_chain(filters, x).shape
        torch.Size([2, 1, 4, 4])
    """
    sizes = (*x.shape[2:], filters.shape[-1])
    shifts = _shift_matrices(*sizes, filters.dtype).to(filters.device)
    result: Any = _FilterChain.apply(filters.flatten(2), x.flatten(2), shifts, skips or {}, sizes)
    return result.view_as(x)
