"""Zeros that no filter fills: Theorem 5, its lemma and its corollary."""

from itertools import pairwise

import pytest
import torch
from draws import normal

from memzoo.theory import (
    convolution_matrix,
    depth_lower_bound,
    forced_zero_pattern,
    memorization_gap,
    unmemorizable_vector,
)


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
