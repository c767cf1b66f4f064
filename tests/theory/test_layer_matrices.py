"""Layers as matrices: Algorithms 1 and 2 of Supplement E."""

import pytest
import torch
from draws import normal
from torch import nn
from torch.testing import assert_close

from memzoo.dynamics import operator
from memzoo.theory import (
    convolution_matrix,
    upsampling_matrix,
)


def run_algorithm_1(parameters, s, stride):
    """Run the paper's listing for one output filter, line by line; parameters (f, 9)."""
    f = len(parameters)
    wide = s + 2
    resized = s // stride
    blocks = torch.zeros(f, wide**2, dtype=parameters.dtype)
    for index in range(f):
        for kernel in range(9):
            blocks[index, kernel % 3 + wide * (kernel // 3)] = parameters[index, kernel]
    c = torch.zeros((resized + 2) ** 2, f * wide**2, dtype=parameters.dtype)
    index = resized + 2 + 1
    for _ in range(resized):
        for shift in range(resized):
            c[index + shift] = blocks.roll(stride * shift, 1).flatten()
        index += resized + 2
        blocks = blocks.roll(wide * stride, 1)
    return c


def run_algorithm_2(s, f, scale, first_column=1):
    """Run the paper's listing line by line; the paper prints ``first_column`` 0."""
    out = s * scale + 2
    u = torch.zeros(f * out**2, f * (s + 2) ** 2)
    index = out + 1
    for channel in range(f):
        for row in range(1, s + 1):
            for _ in range(scale):
                for column in range(first_column, s + 1):
                    for _ in range(scale):
                        u[index] = 0
                        u[index, column + row * (s + 2) + channel * (s + 2) ** 2] = 1
                        index += 1
                index += 2
        index += 2 * out
    return u


def test_the_papers_convolution_of_a_3x3_image():
    printed = """5 6 0 8 9 0 0 0 0
                 4 5 6 7 8 9 0 0 0
                 0 4 5 0 7 8 0 0 0
                 2 3 0 5 6 0 8 9 0
                 1 2 3 4 5 6 7 8 9
                 0 1 2 0 4 5 0 7 8
                 0 0 0 2 3 0 5 6 0
                 0 0 0 1 2 3 4 5 6
                 0 0 0 0 1 2 0 4 5"""
    expected = torch.tensor([[float(entry) for entry in row.split()] for row in printed.splitlines()])
    found = convolution_matrix(torch.arange(1.0, 10).reshape(3, 3), 3)
    assert torch.equal(found, expected)


def test_the_papers_upsampling_of_a_1x1_image():
    expected = torch.zeros(16, 9)
    expected[[5, 6, 9, 10], 4] = 1
    assert torch.equal(upsampling_matrix(1, 2, padded=True), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_padded_convolution_is_algorithm_1_stacked_over_filters(stride, channels):
    filters = normal(2, channels, 3, 3)
    expected = torch.cat([run_algorithm_1(block.reshape(channels, 9), 4, stride) for block in filters])
    assert_close(convolution_matrix(filters, 4, stride=stride, padded=True), expected)


@pytest.mark.parametrize(("side", "channels", "factor"), [(1, 1, 2), (3, 1, 2), (2, 3, 3)])
def test_padded_upsampling_is_algorithm_2_with_its_column_loop_mended(side, channels, factor):
    found = upsampling_matrix(side, factor, channels, padded=True)
    assert torch.equal(found, run_algorithm_2(side, channels, factor))


def test_algorithm_2_as_printed_does_not_give_the_printed_example():
    assert not torch.equal(run_algorithm_2(1, 1, 2, first_column=0), upsampling_matrix(1, 2, padded=True))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "padding"), [(1, None), (3, None), (5, None), (3, 0), (2, 1)])
def test_convolution_equals_conv2d(kernel, padding, stride):
    filters = torch.randn(4, 3, kernel, kernel).double()
    x = torch.randn(2, 3, 6, 6).double()
    p = (kernel - 1) // 2 if padding is None else padding
    y = nn.functional.conv2d(x, filters, stride=stride, padding=p)
    matrix = convolution_matrix(filters, 6, stride=stride, padding=padding)
    assert_close(x.flatten(1) @ matrix.T, y.flatten(1))
    wide = convolution_matrix(filters, 6, stride=stride, padding=padding, padded=True)
    # a padded matrix maps images with their border to images with a border
    border = nn.ZeroPad2d(p)
    expected = border(y).flatten(1)
    assert_close(border(x).flatten(1) @ wide.T, expected)


def test_upsampling_equals_interpolate():
    x = torch.randn(2, 3, 4, 4)
    y = nn.functional.interpolate(x, scale_factor=3, mode="nearest")
    found = x.flatten(1) @ upsampling_matrix(4, 3, 3).T
    assert torch.equal(found, y.flatten(1))


@pytest.mark.parametrize("padded", [False, True])
def test_products_equal_the_operator_of_the_network(padded):
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1, bias=False),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(3, 1, 3, padding=1, bias=False),
    ).double()
    filters = net[0].weight.detach()
    down = convolution_matrix(filters, 4, stride=2, padded=padded)
    up = upsampling_matrix(2, 2, 3, padded=padded, dtype=torch.float64)
    last = convolution_matrix(net[2].weight.detach(), 4, padded=padded)
    product = last @ up @ down
    if padded:  # the border of the input is not read into the inner pixels, that of the output is zero
        inner = torch.arange(36).reshape(6, 6)[1:5, 1:5].flatten()
        assert (product.sum(1) != 0).sum() == 16
        product = product[inner][:, inner]
    assert_close(product, operator(net, (1, 4, 4)).matrix)


def test_layer_matrices_refuse():
    with pytest.raises(ValueError, match=r"filters must be \(out, in, k, k\) or \(k, k\), got \(2, 3\)"):
        convolution_matrix(torch.ones(1, 1, 2, 3)[0, 0], 4)
    with pytest.raises(ValueError, match="even size 2 has no middle; give padding"):
        convolution_matrix(torch.ones(2, 2), 4)
    with pytest.raises(ValueError, match="does not fit an image of side 2, padded to 2"):
        convolution_matrix(torch.ones(3, 3), 2, padding=0)
    with pytest.raises(ValueError, match="at least 1, got 0, 2 and 1"):
        upsampling_matrix(0, 2)
