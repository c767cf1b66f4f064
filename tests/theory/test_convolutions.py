"""Layer matrices, and what rests on them: Theorems 4 and 5, the lemma, the heuristic depth."""

from itertools import pairwise

import pytest
import torch
from draws import normal
from torch import nn

from memzoo.dynamics import operator
from memzoo.theory import (
    convolution_matrix,
    depth_lower_bound,
    forced_zero_pattern,
    heuristic_depth,
    memorization_gap,
    parameter_count,
    trained_filter,
    trained_operator,
    unmemorizable_vector,
    upsampling_matrix,
)


def algorithm_1(parameters, s, stride):
    """The paper's listing for one output filter, line by line; parameters (f, 9)."""
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


def algorithm_2(s, f, scale, first_column=1):
    """The paper's listing line by line; it prints ``first_column`` 0."""
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
    assert torch.equal(convolution_matrix(torch.arange(1.0, 10).reshape(3, 3), 3), expected)


def test_the_papers_upsampling_of_a_1x1_image():
    expected = torch.zeros(16, 9)
    expected[[5, 6, 9, 10], 4] = 1
    assert torch.equal(upsampling_matrix(1, 2, padded=True), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_padded_convolution_is_algorithm_1_stacked_over_filters(stride, channels):
    filters = normal(2, channels, 3, 3)
    expected = torch.cat([algorithm_1(block.reshape(channels, 9), 4, stride) for block in filters])
    torch.testing.assert_close(convolution_matrix(filters, 4, stride=stride, padded=True), expected)


@pytest.mark.parametrize(("side", "channels", "factor"), [(1, 1, 2), (3, 1, 2), (2, 3, 3)])
def test_padded_upsampling_is_algorithm_2_with_its_column_loop_mended(side, channels, factor):
    assert torch.equal(upsampling_matrix(side, factor, channels, padded=True), algorithm_2(side, channels, factor))


def test_algorithm_2_as_printed_does_not_give_the_printed_example():
    assert not torch.equal(algorithm_2(1, 1, 2, first_column=0), upsampling_matrix(1, 2, padded=True))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "padding"), [(1, None), (3, None), (5, None), (3, 0), (2, 1)])
def test_convolution_equals_conv2d(kernel, padding, stride):
    filters = torch.randn(4, 3, kernel, kernel).double()
    x = torch.randn(2, 3, 6, 6).double()
    p = (kernel - 1) // 2 if padding is None else padding
    y = nn.functional.conv2d(x, filters, stride=stride, padding=p)
    matrix = convolution_matrix(filters, 6, stride=stride, padding=padding)
    torch.testing.assert_close(x.flatten(1) @ matrix.T, y.flatten(1))
    wide = convolution_matrix(filters, 6, stride=stride, padding=padding, padded=True)
    border = nn.ZeroPad2d(p)
    torch.testing.assert_close(border(x).flatten(1) @ wide.T, border(y).flatten(1))


def test_upsampling_equals_interpolate():
    x = torch.randn(2, 3, 4, 4)
    y = nn.functional.interpolate(x, scale_factor=3, mode="nearest")
    assert torch.equal(x.flatten(1) @ upsampling_matrix(4, 3, 3).T, y.flatten(1))


@pytest.mark.parametrize("padded", [False, True])
def test_products_equal_the_operator_of_the_network(padded):
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1, bias=False),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(3, 1, 3, padding=1, bias=False),
    ).double()
    down = convolution_matrix(net[0].weight.detach(), 4, stride=2, padded=padded)
    up = upsampling_matrix(2, 2, 3, padded=padded, dtype=torch.float64)
    last = convolution_matrix(net[2].weight.detach(), 4, padded=padded)
    product = last @ up @ down
    if padded:  # the border of the input is not read into the inner pixels, that of the output is zero
        inner = torch.arange(36).reshape(6, 6)[1:5, 1:5].flatten()
        assert (product.sum(1) != 0).sum() == 16
        product = product[inner][:, inner]
    torch.testing.assert_close(product, operator(net, (1, 4, 4)).matrix)


def test_layer_matrices_refuse():
    with pytest.raises(ValueError, match=r"filters must be \(out, in, k, k\) or \(k, k\), got \(2, 3\)"):
        convolution_matrix(torch.ones(1, 1, 2, 3)[0, 0], 4)
    with pytest.raises(ValueError, match="even size 2 has no middle; give padding"):
        convolution_matrix(torch.ones(2, 2), 4)
    with pytest.raises(ValueError, match="does not fit an image of side 2, padded to 2"):
        convolution_matrix(torch.ones(3, 3), 2, padding=0)
    with pytest.raises(ValueError, match="at least 1, got 0, 2 and 1"):
        upsampling_matrix(0, 2)


def descend(image, steps):
    """Plain gradient descent of one filter from zero, through conv2d and autograd."""
    w = torch.zeros(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    patches = nn.functional.unfold(image[None, None], 3, padding=1)[0]
    lr = 1 / torch.linalg.matrix_norm(patches, 2) ** 2
    for _ in range(steps):
        y = nn.functional.conv2d(image[None, None], w, padding=1)
        (gradient,) = torch.autograd.grad(0.5 * (y - image).square().sum(), w)
        w = (w - lr * gradient).detach().requires_grad_()
    return w.detach()[0, 0]


@pytest.mark.parametrize("side", [2, 3, 4])
def test_one_filter_learns_an_operator_of_full_rank(side):
    image = normal(side, side)
    solution = trained_operator(image)
    assert torch.linalg.matrix_rank(solution) == side**2
    torch.testing.assert_close(solution @ image.flatten(), image.flatten())
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    layer.weight.data[0, 0] = trained_filter(image)
    torch.testing.assert_close(operator(layer, (1, side, side)).matrix, solution)


def test_the_closed_form_is_where_gradient_descent_ends():
    image = torch.tensor([[1.0, 0.2], [0.4, 0.9]], dtype=torch.float64)
    torch.testing.assert_close(trained_filter(image), descend(image, 3000), rtol=0, atol=1e-6)
    assert torch.linalg.matrix_rank(convolution_matrix(descend(image, 3000), 2)) == 4


def test_a_general_image_teaches_the_identity():
    identity = torch.zeros(3, 3, dtype=torch.float64)
    identity[1, 1] = 1
    torch.testing.assert_close(trained_filter(normal(6, 6)), identity)


def test_exceptions_to_full_rank():
    """Theorem 4 is stated for any image. The mask of edge midpoints is the only one of all 511 binary 3x3 images."""
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.float64)
    expected = torch.tensor([[0.25, 0, 0.25], [0, 0.5, 0], [0.25, 0, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(trained_filter(cross), expected)
    torch.testing.assert_close(descend(cross, 200), expected)
    values = torch.linalg.eigvalsh(convolution_matrix(expected, 3))
    torch.testing.assert_close(values, torch.tensor([0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1], dtype=torch.float64))
    assert torch.linalg.matrix_rank(trained_operator(cross)) == 7
    assert (trained_operator(torch.zeros(3, 3)) == 0).all()


def test_conv_rank_refuses():
    with pytest.raises(ValueError, match=r"image must be square \(s, s\), one channel, got \(2, 3\)"):
        trained_filter(torch.rand(2, 3))
    with pytest.raises(ValueError, match="kernel must be odd, so that it has a middle, got 2"):
        trained_filter(torch.rand(3, 3), kernel=2)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_pattern_is_that_of_products_of_positive_filters(side, kernel):
    layer = convolution_matrix(torch.ones(kernel, kernel), side)
    for layers in range(5):
        product = torch.linalg.matrix_power(layer, layers)  # nothing cancels among positive numbers
        assert torch.equal(forced_zero_pattern(side, layers, kernel), product == 0)


def test_no_number_of_filters_fills_a_forced_zero():
    sizes = [1, 7, 7, 1]
    product = torch.eye(25, dtype=torch.float64)
    for fan_in, fan_out in pairwise(sizes):
        product = convolution_matrix(normal(fan_out, fan_in, 3, 3), 5) @ product
    assert torch.equal(product == 0, forced_zero_pattern(5, 3))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", range(1, 9))
def test_depth_bound_is_the_first_depth_without_forced_zeros(side, kernel):
    first = next(layers for layers in range(20) if not forced_zero_pattern(side, layers, kernel).any())
    assert depth_lower_bound(side, kernel) == first
    assert kernel != 3 or first == side - 1


def test_two_layers_cannot_memorize_4x4_or_larger():
    assert not forced_zero_pattern(3, 2).any()
    for side in range(4, 9):
        assert unmemorizable_vector(forced_zero_pattern(side, 2)) is not None


def test_a_matrix_with_a_forced_zero_misses_a_vector():
    for i, j in [(0, 3), (2, 2)]:
        pattern = torch.zeros(4, 4, dtype=torch.bool)
        pattern[i, j] = True
        v = unmemorizable_vector(pattern).double()
        projection = torch.outer(v, v) / (v @ v)
        best = torch.where(pattern, 0.0, projection)
        gap = memorization_gap(pattern, v)
        assert gap == pytest.approx((best - projection).norm().item())
        assert gap > 0.4
        for _ in range(20):  # no other matrix with the zero comes nearer
            other = torch.where(pattern, 0.0, projection + 0.1 * normal(4, 4))
            assert (other - projection).norm() >= gap
    assert unmemorizable_vector(torch.zeros(3, 3, dtype=torch.bool)) is None
    assert memorization_gap(forced_zero_pattern(3, 2), torch.ones(9)) == 0


def test_forced_zeros_refuse():
    with pytest.raises(ValueError, match="side must be at least 1, got 0"):
        forced_zero_pattern(0, 1)
    with pytest.raises(ValueError, match="layers must be at least 0, got -1"):
        forced_zero_pattern(2, -1)
    with pytest.raises(ValueError, match="kernel must be odd"):
        depth_lower_bound(4, 2)
    with pytest.raises(ValueError, match="filters of size 1 x 1 never mix pixels"):
        depth_lower_bound(4, 1)
    with pytest.raises(ValueError, match="must be nonzero with 4 entries"):
        memorization_gap(forced_zero_pattern(2, 0), torch.zeros(4))


def test_heuristic_depth_is_the_papers_and_matches_a_full_matrix():
    assert [heuristic_depth(side) for side in range(2, 8)] == [2, 9, 29, 70, 144, 267]
    for side in range(1, 30):
        depth = heuristic_depth(side)
        assert parameter_count(depth) >= side**4 > parameter_count(depth) - 9
    assert heuristic_depth(10**5) == -(-(10**20) // 9)  # in floating point the last digits would be lost
    with pytest.raises(ValueError, match="side and kernel must be at least 1, got 0 and 3"):
        heuristic_depth(0)


@pytest.mark.parametrize(("layers", "filters"), [(1, 4), (2, 1), (3, 16), (5, 16)])
def test_parameters_are_those_of_the_network(layers, filters):
    sizes = [1, *[filters] * (layers - 1), 1]
    net = nn.Sequential(*[nn.Conv2d(i, o, 3, bias=False) for i, o in pairwise(sizes)])
    assert parameter_count(layers, filters) == sum(p.numel() for p in net.parameters())


def test_tables_recounted():
    table_1 = {3: (27, 2592, 149760), 5: (45, 7200, 444672), 8: (72, 14112, 887040)}  # 3 is printed as 2
    for layers, counts in table_1.items():
        assert tuple(parameter_count(layers, filters) for filters in (1, 16, 128)) == counts
    assert parameter_count(2) == 18
    printed = {3: 27, 9: 81, 29: 261, 70: 630, 144: 1296, 267: 2403, 10: 90, 200: 1800}  # Table 2, one filter
    assert {layers: parameter_count(layers) for layers in printed} == printed
    assert parameter_count(350) == 3150  # printed 3105
    with pytest.raises(ValueError, match="all sizes must be at least 1"):
        parameter_count(0)
