"""The rank that one filter learns: Theorem 4."""

import pytest
import torch
from draws import normal
from torch import nn
from torch.testing import assert_close

from memzoo.dynamics import operator
from memzoo.theory import (
    convolution_matrix,
    trained_filter,
    trained_operator,
)


def descend(image, steps):
    """Run plain gradient descent of one filter from zero, through conv2d and autograd."""
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
    assert_close(solution @ image.flatten(), image.flatten())
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    layer.weight.data[0, 0] = trained_filter(image)
    assert_close(operator(layer, (1, side, side)).matrix, solution)


def test_the_closed_form_is_where_gradient_descent_ends():
    image = torch.tensor([[1.0, 0.2], [0.4, 0.9]], dtype=torch.float64)
    assert_close(trained_filter(image), descend(image, 3000), rtol=0, atol=1e-6)
    assert torch.linalg.matrix_rank(convolution_matrix(descend(image, 3000), 2)) == 4


def test_a_general_image_teaches_the_identity():
    identity = torch.zeros(3, 3, dtype=torch.float64)
    identity[1, 1] = 1
    assert_close(trained_filter(normal(6, 6)), identity)


def test_exceptions_to_full_rank():
    # Theorem 4 is stated for any image. The mask of edge midpoints is the only exception of all 511 binary 3x3 images.
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.float64)
    expected = torch.tensor([[0.25, 0, 0.25], [0, 0.5, 0], [0.25, 0, 0.25]], dtype=torch.float64)
    assert_close(trained_filter(cross), expected)
    assert_close(descend(cross, 200), expected)
    values = torch.linalg.eigvalsh(convolution_matrix(expected, 3))
    assert_close(values, torch.tensor([0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1], dtype=torch.float64))
    assert torch.linalg.matrix_rank(trained_operator(cross)) == 7
    assert (trained_operator(torch.zeros(3, 3)) == 0).all()


def test_conv_rank_refuses():
    with pytest.raises(ValueError, match=r"image must be square \(s, s\), one channel, got \(2, 3\)"):
        trained_filter(torch.rand(2, 3))
    with pytest.raises(ValueError, match="kernel must be odd, so that it has a middle, got 2"):
        trained_filter(torch.rand(3, 3), kernel=2)
