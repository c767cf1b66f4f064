import math

import pytest
import torch

from memzoo.dynamics import nearest_margin
from memzoo.errors import NonFiniteError


def test_margins_on_a_line_have_their_closed_form():
    # two examples D = 4 apart, the point at s from the first: D - 2 s, and that over D - s
    s = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    examples = torch.tensor([[0.0], [4.0], [100.0]], dtype=torch.float64)
    margin = nearest_margin(s[:, None], examples)
    assert margin.index[:3].tolist() == [0, 0, 0]
    torch.testing.assert_close(margin.distance, s)
    torch.testing.assert_close(margin.absolute, 4 - 2 * s)
    # the examples lie at distances s and 4 - s: 1 - s / (4 - s)
    expected = (4 - 2 * s) / (4 - s)
    torch.testing.assert_close(margin.relative, expected)


def test_margins_equal_their_definition():
    points = torch.randn(50, 3, 4)
    examples = torch.randn(9, 3, 4)
    gaps = (points[:, None] - examples[None]).double().flatten(2).norm(dim=2).sort(1)
    margin = nearest_margin(points, examples)
    assert torch.equal(margin.index, gaps.indices[:, 0])
    expected = gaps.values[:, 1] - gaps.values[:, 0]
    torch.testing.assert_close(margin.absolute, expected, rtol=1e-6, atol=1e-6)
    expected = 1 - gaps.values[:, 0] / gaps.values[:, 1]
    torch.testing.assert_close(margin.relative, expected, rtol=1e-6, atol=1e-6)
    assert ((margin.relative >= 0) & (margin.relative <= 1)).all()


def test_a_point_that_moves_less_than_half_its_margin_keeps_its_example():
    points = torch.randn(500, 5, dtype=torch.float64)
    examples = torch.randn(9, 5, dtype=torch.float64)
    margin = nearest_margin(points, examples)
    step = torch.nn.functional.normalize(torch.randn_like(points), dim=1)
    moved = nearest_margin(points + 0.499 * margin.absolute[:, None] * step, examples)
    assert torch.equal(moved.index, margin.index)


def test_order_basis_and_units_of_the_examples_change_nothing():
    points = torch.randn(20, 6, dtype=torch.float64)
    examples = torch.randn(7, 6, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    order = torch.randperm(7)
    one = nearest_margin(points, examples)
    two = nearest_margin(3 * points @ basis + 1, (3 * examples @ basis + 1)[order])
    assert torch.equal(order[two.index], one.index)
    torch.testing.assert_close(two.relative, one.relative)
    torch.testing.assert_close(two.absolute, 3 * one.absolute)


def test_duplicates_are_one_example_and_the_first_is_named():
    examples = torch.tensor([[4.0], [0.0], [-0.0], [4.0], [0.0]])
    margin = nearest_margin(torch.tensor([[0.0], [3.0]]), examples)
    assert margin.index.tolist() == [1, 0]
    assert margin.absolute.tolist() == [4, 2]
    assert margin.relative.tolist() == pytest.approx([1, 2 / 3])


@pytest.mark.parametrize("examples", [[[2.0]], [[2.0], [2.0]]])
def test_a_single_example_has_no_rival(examples):
    margin = nearest_margin(torch.tensor([[0.0]]), torch.tensor(examples))
    assert (margin.index.item(), margin.distance.item()) == (0, 2)
    assert margin.second.item() == margin.absolute.item() == math.inf
    assert margin.relative.item() == 1


def test_small_margins_survive_float32():
    # the two distances differ by 1e-5 of themselves: lost in |x|^2 - 2 x.y + |y|^2
    points = torch.full((1, 784), 10.0)
    examples = points + torch.tensor([[1.0], [-1.00001]]) / 28
    margin = nearest_margin(points, examples)
    gaps = (points.double() - examples.double()).norm(dim=1)
    expected = (gaps.max() - gaps.min()).item()
    assert margin.absolute.item() == pytest.approx(expected, rel=1e-6)


def test_points_and_examples_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"points and examples must be points of one space, got shapes \(1, 3\)"):
        nearest_margin(torch.zeros(1, 3), torch.rand(2, 4))
    with pytest.raises(NonFiniteError, match=r"points holds NaN or infinity in 1 of 1 rows"):
        nearest_margin(torch.full((1, 3), math.nan), torch.rand(2, 3))
    with pytest.raises(NonFiniteError, match=r"examples holds NaN or infinity in 2 of 2 rows"):
        nearest_margin(torch.zeros(1, 3), torch.full((2, 3), math.inf))
