"""Convolutions in an order of operations that runs faster in float64 on a CPU; each equals the plain operation.

A traced graph executes them for batches of tangents and for long orbits.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.functional import conv2d, pad

aten: Any = torch.ops.aten  # torch creates the members of this namespace on demand, so they have no types


def move_channels_last(x: Tensor) -> Tensor:
    """Place the channels of each pixel next to each other in memory: three times faster in float64 on a CPU."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def convolve_upsampled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute the 3x3 convolution, padding 1, of ``x`` (N, C, H, W) after nearest-neighbour upsampling by 2.

    An output pixel at (2 i + a, 2 j + b) with a, b in {0, 1} sees only 2x2 pixels of ``x``, because the others are
    copies of these. One 2x2 convolution to 4 K channels therefore gives all four parities (a, b). Its kernels add up
    the taps that fall on one pixel: 16 products instead of 36.

    Returns:
        (N, K, 2H, 2W).
    """
    kernels: list[Tensor] = []
    for below in (0, 1):
        rows = _merge_taps(weight, 2, below)
        kernels += [_merge_taps(rows, 3, right) for right in (0, 1)]
    height, width = x.shape[-2:]
    phases = _convolve_2x2(pad(x, (1, 1, 1, 1)), torch.cat(kernels)).chunk(4, dim=1)

    output_rows: list[Tensor] = []
    for below in (0, 1):
        pixels = [phases[2 * below + right][:, :, below:, right:][:, :, :height, :width] for right in (0, 1)]
        output_rows.append(torch.stack(pixels, -1).flatten(-2))
    result = torch.stack(output_rows, -2).flatten(-3, -2)
    return result if bias is None else result + bias[:, None, None]


def _merge_taps(weight: Tensor, dim: int, parity: int) -> Tensor:
    """Add up those of three taps along ``dim`` that fall on one pixel of the image before upsampling."""
    first, middle, last = weight.unbind(dim)
    # An even output pixel 2 i sees the pixels i - 1, i, i; an odd one, 2 i + 1, sees i, i, i + 1.
    pair = [first, middle + last] if parity == 0 else [first + middle, last]
    return torch.stack(pair, dim)


def _convolve_2x2(x: Tensor, kernels: Tensor) -> Tensor:
    """Compute a 2x2 convolution without padding; in float64 by one matrix product, which is fast on a CPU."""
    if x.dtype != torch.float64:
        return conv2d(move_channels_last(x), kernels)
    rows = x.permute(0, 2, 3, 1)
    windows = torch.cat([rows[:, :-1, :-1], rows[:, :-1, 1:], rows[:, 1:, :-1], rows[:, 1:, 1:]], -1)
    return (windows @ kernels.permute(2, 3, 1, 0).flatten(0, 2)).permute(0, 3, 1, 2)


def replace_convolutions(graph: fx.Graph) -> None:
    """Replace the two-dimensional convolutions of a graph by the faster ones, in place."""
    for node in list(graph.nodes):
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default  # a view may not exist once the channels come last
        elif node.target is aten.convolution.default and len(node.meta["val"].shape) == 4:
            if _follows_doubling(node):
                _join_with_upsampling(graph, node)
            else:
                _give_channels_last(graph, node)


def _follows_doubling(convolution: fx.Node) -> bool:
    """Tell whether a plain 3x3 convolution is all that reads an image doubled in size by nearest neighbours."""
    x, weight = convolution.all_input_nodes[:2]
    if x.target is not aten.upsample_nearest2d.default or len(x.users) > 1:
        return False
    before = x.all_input_nodes[0].meta["val"].shape
    doubled = (2 * before[2], 2 * before[3])
    # stride, padding, dilation, transposed, output padding, groups
    settings = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    shapes = (tuple(x.meta["val"].shape[2:]), tuple(weight.meta["val"].shape[2:]))
    return convolution.args[3:] == settings and shapes == (doubled, (3, 3))


def _join_with_upsampling(graph: fx.Graph, convolution: fx.Node) -> None:
    """Replace an upsampling and the convolution after it by one operation."""
    upsampling = convolution.all_input_nodes[0]
    with graph.inserting_before(convolution):
        joined = graph.call_function(convolve_upsampled, (upsampling.args[0], *convolution.args[1:3]))
    joined.meta = convolution.meta
    convolution.replace_all_uses_with(joined)
    graph.erase_node(convolution)
    graph.erase_node(upsampling)


def _give_channels_last(graph: fx.Graph, convolution: fx.Node) -> None:
    """Let a convolution read its input with the channels last."""
    x = convolution.all_input_nodes[0]
    with graph.inserting_before(convolution):
        moved = graph.call_function(move_channels_last, (x,))
    moved.meta = x.meta
    convolution.replace_input_with(x, moved)
