"""Test that the bounds of squared distances hold, and that they are close."""

import pytest
import torch

from memzoo.dynamics.orbits import distance_bounds
from memzoo.dynamics.orbits.distance_bounds import DistanceBounds, split_into_blocks


@pytest.mark.parametrize(
    "width",
    [
        1,
        3,
        distance_bounds.BLOCK_ELEMENTS - 1,
        distance_bounds.BLOCK_ELEMENTS,
        distance_bounds.BLOCK_ELEMENTS + 1,
        10 * distance_bounds.BLOCK_ELEMENTS,
    ],
)
def test_blocks_hold_a_bounded_number_of_elements_and_at_least_one_row(width):
    rows = torch.zeros(9, 1)
    parts = split_into_blocks(rows, width)
    assert sum(map(len, parts)) == 9
    assert all(len(part) * width <= distance_bounds.BLOCK_ELEMENTS or len(part) == 1 for part in parts)
    if len(parts) > 1:
        assert (len(parts[0]) + 1) * width > distance_bounds.BLOCK_ELEMENTS  # no smaller than need be


def by_subtraction(points, examples, offset=None):
    distance = (points[:, None].double() - examples[None].double()).norm(dim=2)
    return distance if offset is None else torch.hypot(distance, offset.double().expand_as(distance))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centre", [0.0, 1e3])
@pytest.mark.parametrize("size", [1e-20, 1.0, 1e15])
@pytest.mark.parametrize("offset", [False, True])
def test_true_distances_lie_between_the_bounds(dtype, centre, size, offset):
    examples = (size * (centre + torch.randn(12, 5).double())).to(dtype)
    points = torch.cat([examples[:3], (size * (centre + torch.randn(9, 5).double())).to(dtype)])
    extra = size * torch.rand(12).to(dtype) if offset else None
    found = DistanceBounds(examples, offset=extra)
    true = by_subtraction(points, examples, extra)
    low, norms = found.lower(points)
    row, column = (index.flatten() for index in torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij"))
    high = found.upper(low.flatten(), norms[row], column).reshape(12, 12)
    square = (true / found.unit).square()
    assert (low.double() <= square).all()
    assert (square <= high.double()).all()
    narrow = 1e-2 if low.dtype == torch.float32 else 1e-9
    assert ((high - low).double() <= narrow * (1 + square)).all()
    torch.testing.assert_close(found.exact(points, row, column).reshape(12, 12), true, rtol=1e-12, atol=0)
    first, _ = found.lower(points, 5)
    torch.testing.assert_close(first, low[:, 5:])
    for limit in true.flatten()[::7].tolist():
        exceeds = found.certainly_farther(low, limit)
        assert not exceeds[true <= limit].any()
        assert exceeds[true > 1.05 * limit + 0.1 * found.unit].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", ["points", "examples"])
def test_true_distances_lie_between_the_bounds_where_one_norm_is_all_that_rounds(dtype, far):
    # one side lies a thousand units from the centre, the other almost in it
    away = 1000 * torch.nn.functional.normalize(torch.randn(200, 5, dtype=dtype), dim=1)
    if far == "points":
        points, examples = away, torch.randn(2, 5, dtype=dtype)
    else:
        points, examples = 1e-3 * torch.randn(2, 5, dtype=dtype), torch.cat([away, -away])
    found = DistanceBounds(examples)
    square = (by_subtraction(points, examples) / found.unit).square()
    low, norms = found.lower(points)
    row, column = torch.ones_like(low, dtype=torch.bool).nonzero(as_tuple=True)
    high = found.upper(low.flatten(), norms[row], column).reshape(low.shape)
    assert (low.double() <= square).all()
    assert (square <= high.double()).all()


def test_the_unit_covers_the_examples_and_the_scale():
    examples = torch.tensor([[0.0, 0], [6, 8]])
    assert DistanceBounds(examples).unit == pytest.approx(5)  # half of the way from one to the other
    assert DistanceBounds(examples, 2.0).unit == pytest.approx(7)
    assert DistanceBounds(torch.ones(3, 2)).unit == 1  # all in one place
    expected = torch.tensor([3.0, 4]).double()
    torch.testing.assert_close(DistanceBounds(examples).centre, expected)


def test_bounds_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    examples = torch.rand(11, 4)
    points = torch.rand(5, 4)
    whole = DistanceBounds(examples).lower(points)[0]
    monkeypatch.setattr(distance_bounds, "BLOCK_ELEMENTS", 8)
    torch.testing.assert_close(DistanceBounds(examples).lower(points)[0], whole)


def test_products_that_round_their_inputs_are_not_trusted():
    examples = torch.rand(3, 2)
    assert DistanceBounds(examples).centred.dtype == torch.float32
    assert DistanceBounds(examples.double()).centred.dtype == torch.float64
    torch.set_float32_matmul_precision("medium")
    try:
        assert DistanceBounds(examples).centred.dtype == torch.float64
    finally:
        torch.set_float32_matmul_precision("highest")
