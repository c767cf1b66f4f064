import math

import pytest
import torch

from memzoo.dynamics import close_pairs, default_eps, nearest
from memzoo.dynamics.orbits import distance_bounds
from memzoo.dynamics.orbits.distance import decide_pairs, spread_eps


def brute_force(points, examples, eps):
    gaps = points[:, None].double() - examples[None].double()
    return {tuple(pair) for pair in (gaps.flatten(2).norm(dim=2) < eps).nonzero().tolist()}


@pytest.mark.parametrize("dim", [784, 3072])
@pytest.mark.parametrize("eps", [1e-3, 1e-2, 1e-1])
def test_pairs_equal_a_float64_brute_force_at_every_eps(dim, eps):
    # points at distances around eps from their example: what the matrix-product formula cannot resolve in float32
    examples = torch.rand(20, dim)
    direction = torch.nn.functional.normalize(torch.randn(200, dim), dim=1)
    factor = torch.linspace(0.9, 1.1, 200)[:, None]
    points = examples[torch.arange(200) % 20] + eps * factor * direction
    rows, columns = close_pairs(points, examples, eps)
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert found == brute_force(points, examples, eps)
    assert 50 < len(found) < 150


def test_a_tie_is_decided_by_the_last_bit_of_a_float64():
    points = torch.rand(40, 300)
    examples = torch.rand(40, 300)
    for point, example in zip(points, examples, strict=True):
        eps = (point.double() - example.double()).norm().item()
        assert len(close_pairs(point[None], example[None], eps)[0]) == 0
        found = len(close_pairs(point[None], example[None], math.nextafter(eps, math.inf))[0])
        assert found == 1


def test_pairs_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    points = torch.randn(30, 3)
    examples = torch.randn(7, 3)
    whole = close_pairs(points, examples, 1.0)
    monkeypatch.setattr(distance_bounds, "BLOCK_ELEMENTS", 5)
    for one, other in zip(whole, close_pairs(points, examples, 1.0), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("value", "eps", "dtype"), [(1e-25, 1e-24, torch.float32), (1e20, 1.0, torch.float32), (-30.0, 1.0, torch.float16)]
)
def test_pairs_are_decided_although_their_squares_leave_the_number_range(value, eps, dtype):
    points = torch.full((2, 784), value, dtype=dtype)
    points[1] = -value
    expected = [0, 0, 1, 1] if eps > 28 * 2 * abs(value) else [0, 1]
    assert close_pairs(points, points, eps)[0].tolist() == expected


def test_pairs_far_from_the_origin_are_decided():
    points = torch.tensor([[1e4, 1e4], [1e4 + 1, 1e4]])
    assert close_pairs(points, points, 0.5)[0].tolist() == [0, 1]


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_lowered_matrix_products_and_autocast_change_no_decision(precision):
    examples = 1 + 1e-3 * torch.rand(30, 50)
    points = examples + 1e-4 * torch.rand(30, 50)
    torch.set_float32_matmul_precision(precision)
    try:
        for eps in torch.linspace(2.6e-3, 3.4e-3, 30).tolist():  # most distances lie between
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = torch.stack(close_pairs(points, examples, eps), 1).tolist()
            assert {tuple(pair) for pair in found} == brute_force(points, examples, eps)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_float32_products_are_used_where_they_round_no_inputs():
    examples = torch.rand(3, 4)
    assert distance_bounds.DistanceBounds(examples).centred.dtype == torch.float32
    assert distance_bounds.DistanceBounds(examples.double()).centred.dtype == torch.float64
    torch.set_float32_matmul_precision("high")
    try:
        assert distance_bounds.DistanceBounds(examples).centred.dtype == torch.float64
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [None, 0.3])
def test_true_squares_lie_between_narrow_bounds(dtype, offset):
    points = 5 + torch.randn(40, 100, dtype=dtype)
    examples = 5 + torch.randn(30, 100, dtype=dtype)
    beyond = None if offset is None else offset * torch.rand(30, dtype=dtype)
    bounds = distance_bounds.DistanceBounds(examples, 1.0, offset=beyond)
    true = (points[:, None].double() - examples.double()).square().sum(2)
    true = (true if beyond is None else true + beyond.double() ** 2) / bounds.unit**2
    low, norms = bounds.lower(points)
    row, column = torch.ones_like(low, dtype=torch.bool).nonzero(as_tuple=True)
    high = bounds.upper(low.flatten(), norms[row], column).reshape(low.shape)
    assert (low < true).all()
    assert (true < high).all()
    assert ((high - low) < 2000 * torch.finfo(dtype).eps * true).all()


def test_slack_is_below_every_distance_from_eps_and_close_to_the_least():
    points = torch.randn(200, 3)
    examples = torch.randn(50, 3)
    on_a_sphere = (points[0].double() - examples[0].double()).norm().item()
    mixed = 10 ** (3 * torch.rand(50, dtype=torch.float64) - 2)
    for eps in (0.01, 1.0, on_a_sphere, 30.0, mixed):
        radii = spread_eps(eps, examples)
        gap = ((points[:, None].double() - examples.double()).norm(dim=2) - radii).abs().amin(1)
        bounds = distance_bounds.DistanceBounds(examples, radii.max().item())
        slack = torch.cat([slack for *_, slack in decide_pairs(bounds, points, radii)])
        assert (slack < gap).all()
        assert (slack >= 0.99 * gap - 1e-4).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_each_example_decides_by_its_own_radius(dtype):
    # radii of four orders of magnitude, and each example has points just inside and just outside of its own
    examples = torch.randn(40, 12, dtype=dtype)
    eps = 10 ** (4 * torch.rand(40, dtype=torch.float64) - 3)
    direction = torch.nn.functional.normalize(torch.randn(40, 12, dtype=torch.float64), dim=1)
    points = torch.cat([examples.double() + side * eps[:, None] * direction for side in (0.999, 1.001)]).to(dtype)
    between = (points[:, None].double() - examples.double()).norm(dim=2)
    point, example = close_pairs(points, examples, eps)
    found = torch.zeros_like(between, dtype=torch.bool)
    found[point, example] = True
    assert torch.equal(found, between < eps)
    assert found.any(0).float().mean() > 0.5


def test_slack_is_below_every_distance_from_eps_where_the_bounds_overflow():
    points = torch.full((1, 3), 1e30)
    examples = torch.randn(5, 3)
    eps = 0.1
    gap = (points[:, None].double() - examples.double()).norm(dim=2).amin(1) - eps
    ((row, _, slack),) = decide_pairs(distance_bounds.DistanceBounds(examples, eps), points, spread_eps(eps, examples))
    assert not len(row)
    assert 0.99 * gap < slack < gap


def test_points_from_which_squares_overflow_are_decided_without_a_subtraction(monkeypatch):
    subtracted = []
    exact = distance_bounds.DistanceBounds.exact

    def count(bounds, points, point, example):
        subtracted.append(len(point))
        return exact(bounds, points, point, example)

    monkeypatch.setattr(distance_bounds.DistanceBounds, "exact", count)
    examples = torch.randn(5, 3)
    bounds = distance_bounds.DistanceBounds(examples, 0.1)
    list(decide_pairs(bounds, torch.full((4, 3), 1e30), spread_eps(0.1, examples)))
    assert sum(subtracted) == 0


def test_nearest_equals_a_brute_force_also_far_out():
    points = torch.randn(60, 20)
    examples = torch.randn(40, 20)
    points[0] = 1e15
    points[1:20] = examples[:19] * (1 + 1e-6)
    distance, index = (points[:, None].double() - examples.double()).norm(dim=2).sort(1)
    found = nearest(points, examples)
    assert torch.equal(found.index[1:], index[1:, 0])
    torch.testing.assert_close(found.distance, distance[:, 0])
    torch.testing.assert_close(found.second, distance[:, 1])


def test_the_nearest_and_the_second_nearest_example_are_found():
    examples = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    found = nearest(torch.tensor([[0.9, 0.0]]), examples)
    assert (found.index.item(), found.distance.item(), found.second.item()) == pytest.approx((1, 0.1, 0.9), abs=1e-6)
    assert nearest(torch.zeros(1, 2), torch.ones(1, 2)).second.item() == torch.inf


def test_default_eps_is_a_tenth_of_the_smallest_distance():
    examples = torch.tensor([[0.0, 0], [3, 4], [100, 0]])
    found = default_eps(examples)
    assert found == pytest.approx(0.5)
    assert default_eps(torch.tensor([[3.0, 4]])) == pytest.approx(0.25)


def test_default_eps_counts_duplicates_once_and_warns():
    with pytest.warns(UserWarning, match=r"1 of 3 examples are exact duplicates"):
        assert default_eps(torch.tensor([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(0.5)


def test_default_eps_equals_a_brute_force_in_small_blocks(monkeypatch):
    examples = torch.cat([torch.rand(50, 30), 100 + torch.rand(50, 30)])
    examples[76] = examples[38] + 1e-3  # the closest pair, not neighbours in order
    smallest = torch.nn.functional.pdist(examples.double()).min().item()
    for block in (2**22, 700, 1):
        monkeypatch.setattr(distance_bounds, "BLOCK_ELEMENTS", block)
        assert default_eps(examples) == pytest.approx(0.1 * smallest, rel=1e-12)


def test_default_eps_is_exact_where_float32_products_cannot_order_distances():
    for _ in range(20):
        examples = torch.cat([torch.ones(6, 30) + 1e-4 * torch.randn(6, 30), -torch.ones(1, 30)])
        smallest = torch.nn.functional.pdist(examples.double()).min().item()
        assert default_eps(examples) == pytest.approx(0.1 * smallest, rel=1e-12)


def test_pairs_are_decided_although_each_square_underflows():
    # 10,000 coordinates of 1e-23 make a distance of 1e-21, their squares in float32 are all zero
    examples = torch.zeros(3, 10_000)
    examples[1:, 0] = torch.tensor([1.0, -1.0])
    points = torch.full((1, 10_000), 1e-23)
    assert close_pairs(points, examples, 5e-22)[0].tolist() == []
    assert close_pairs(points, examples, 2e-21)[0].tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zeros_of_both_signs_are_duplicates(dtype):
    examples = torch.tensor([[0.0, 1], [-0.0, 1], [3, 1], [3, 1], [0, 1]], dtype=dtype)
    with pytest.warns(UserWarning, match=r"3 of 5 examples are exact duplicates"):
        assert default_eps(examples) == pytest.approx(0.3)


def test_default_eps_of_a_single_zero_is_refused():
    with pytest.raises(ValueError, match=r"single example that is zero everywhere; pass eps="):
        default_eps(torch.zeros(1, 3))
