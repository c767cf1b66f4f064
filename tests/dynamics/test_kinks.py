"""The radius at a kink: its bound covers the sides of the kink, and what the map itself does beside it."""

import pytest
import torch
from torch.nn import functional

from memzoo.dynamics import certify, spectrum


def join(smooth, kinked):
    """Apply one map to all coordinates but the last, and another one to the last."""
    return lambda x: torch.cat([smooth(x[:, :-1]), kinked(x[:, -1:])], 1)


def shrink(x):
    return 0.999 * x


def leave_along_one_of_many(x):
    """Apply a kink in each coordinate, one of which leaves on one side."""
    leaves = torch.arange(x.shape[1]) == x.shape[1] // 3
    return torch.where(leaves, torch.maximum(1.02 * x, 0.3 * x), 0.99 * x.abs())


def pool(factor):
    return lambda x: factor * functional.max_pool1d(x[:, None], 2).repeat_interleave(2, 2)[:, 0]


LEAVING = {  # (map, growth per step on the side on which it leaves 0)
    "relu": (join(shrink, lambda x: 1.02 * x.relu()), 1.02),
    "relu of the other sign": (join(shrink, lambda x: -1.02 * (-x).relu()), 1.02),
    "leaky relu": (join(shrink, lambda x: 1.02 * functional.leaky_relu(x, 0.1)), 1.02),
    "clamp": (join(shrink, lambda x: 1.02 * x.clamp(0, 1)), 1.02),
    "hardtanh": (join(shrink, lambda x: 1.02 * (functional.hardtanh(x + 1) - 1)), 1.02),
    "abs": (join(shrink, lambda x: 1.02 * x.abs()), 1.02),
    "minus abs": (join(shrink, lambda x: -1.02 * x.abs()), 1.02),
    "one of many": (leave_along_one_of_many, 1.02),
    "all together": (lambda x: 1.02 * x.relu().mean(1, keepdim=True).expand_as(x), 1.02),
}


@pytest.mark.parametrize("dim", [1, 2, 200])
@pytest.mark.parametrize("name", LEAVING)
def test_a_kink_that_is_left_on_one_side_is_not_contracting(name, dim):
    f, growth = LEAVING[name]
    found = spectrum(f, torch.zeros(1, dim, dtype=torch.float64), top=1)
    assert found.derivative == ["one-sided"]
    assert found.verdict == ["undecided"]
    assert found.radius + found.radius_error >= growth - 1e-6


@pytest.mark.parametrize("method", ["dense", "arnoldi", "differences"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_method_looks_at_the_sides(method, dtype):
    found = spectrum(LEAVING["relu"][0], torch.zeros(2, 30, dtype=dtype), top=1, method=method)
    assert found.verdict == ["undecided"] * 2


@pytest.mark.parametrize("dim", [1, 7])
@pytest.mark.parametrize("slope", [0.9, -0.9])
def test_the_bound_covers_the_slope_of_both_sides_where_autograd_says_zero(slope, dim):
    found = spectrum(lambda x: slope * x.abs(), torch.zeros(1, dim, dtype=torch.float64))
    assert found.radius.item() == 0
    assert found.radius_error.item() == pytest.approx(0.9)
    assert found.verdict == ["contracting"]


def test_ties_in_max_pooling_have_the_radius_of_every_choice():
    x = torch.ones(1, 40, dtype=torch.float64)
    assert spectrum(pool(0.97), x).verdict == ["contracting"]
    assert spectrum(pool(1.03), x).verdict == ["expanding"]


def test_a_side_that_opens_around_one_coordinate_is_seen_by_iterating():
    def f(x):  # neither random side lies in the cone |x_2|, |x_3|, ... < x_1 / 3, where the slope is 2
        cone = (x[:, :1] - 3 * x[:, 1:].abs().amax(1, keepdim=True)).relu()
        return 0.5 * x.abs() + torch.cat([1.5 * cone, 0 * x[:, 1:]], 1)

    found = spectrum(f, torch.zeros(1, 60, dtype=torch.float64))
    assert found.verdict == ["undecided"]


def test_a_side_that_opens_where_six_kinks_are_passed_together_is_seen_by_iterating():
    normals = torch.linalg.qr(torch.randn(60, 6, dtype=torch.float64))[0]
    towards = normals.sum(1) / 6**0.5

    def f(x):  # six kinks meet; on one of their 64 sides towards -> (0.9 + 1 / 6^0.5) towards
        return 0.9 * x + ((x @ normals).amin(1, keepdim=True).relu() + 0.1 * (x @ normals[:, :1]).relu()) * towards

    found = spectrum(f, torch.zeros(1, 60, dtype=torch.float64))
    assert found.verdict == ["undecided"]


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_a_side_that_two_directions_miss_is_seen_in_few_dimensions(shift):
    normals = torch.tensor([[1.0, 0.2], [-0.2, -1.0]], dtype=torch.float64)

    def f(x):  # 0.9 x, but for a quarter of the plane
        open_side = ((x - shift) @ normals).amin(1, keepdim=True).relu()
        return shift + 0.9 * (x - shift) + open_side * torch.tensor([0.5, -0.5], dtype=x.dtype)

    assert spectrum(f, torch.full((1, 2), shift, dtype=torch.float64)).verdict == ["undecided"]


def test_sides_that_expand_where_no_orbit_stays_are_not_expanding():
    def f(x):  # the slope 2 holds for |x_1| < 0.3 |x_2|, and x_2 shrinks
        first = 2 * torch.minimum(x[:, :1].abs(), 0.3 * x[:, 1:].abs())
        return torch.cat([first, 0.5 * x[:, 1:]], 1)

    assert spectrum(f, torch.zeros(1, 2, dtype=torch.float64)).verdict == ["undecided"]


def test_an_orbit_that_swings_out_beside_a_kink_contracts_in_the_end():
    matrix = torch.tensor([[0.9, 5.0], [0.0, 0.9]], dtype=torch.float64)
    found = spectrum(lambda x: torch.cat([x[:, :2] @ matrix.T, 0.5 * x[:, 2:].abs()], 1), torch.zeros(1, 3).double())
    assert found.derivative == ["one-sided"]
    assert found.verdict == ["contracting"]


def test_only_the_point_beside_which_the_map_fails_is_unverified():
    def f(x):
        if (x.abs() > 1).any():
            raise ValueError("pixels are at most 1")
        return 0.5 * x

    x = torch.full((5, 3), 0.5, dtype=torch.float64)
    x[3] = 1
    with pytest.warns(UserWarning, match="cannot be evaluated beside the points .*pixels are at most 1"):
        found = spectrum(f, x)
    assert found.derivative == ["verified"] * 3 + ["unverified", "verified"]


STAIRS = {
    "coarse stairs": lambda x: (75 * x).round() / 50,
    "a slope and fine stairs": lambda x: 0.9 * x + 0.3 * (1e4 * x).round() / 1e4,
    "a slope and coarse jumps": lambda x: 0.5 * x + 0.6 * (500 * x).round() / 500,
}


@pytest.mark.parametrize("name", STAIRS)
def test_a_staircase_is_found_at_the_one_point_of_many_that_stands_on_it(name):
    def f(x):
        return torch.where(x[:, :1] > 0.5, STAIRS[name](x), 0.5 * x)

    x = 0.3 + 0.01 * torch.rand(41, 6, dtype=torch.float64)
    x[7] += 0.4
    verdict = spectrum(f, x).verdict
    assert verdict.pop(7) == "undecided"
    assert verdict == ["contracting"] * 40


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_map_contracts(count, value):
    found = spectrum(lambda x: torch.full_like(x, value), torch.rand(count, 4, dtype=torch.float64))
    assert found.derivative == ["verified"] * count
    assert found.verdict == ["contracting"] * count


def test_a_constant_map_stores_one_example_and_no_two():
    def f(x):
        return torch.full_like(x, 3.0)

    examples = torch.full((2, 4), 3.01)
    assert certify(f, examples[:1]).attractor.tolist() == [True]
    examples[1] = 1
    assert not certify(f, examples).attractor.any()


@pytest.mark.parametrize("f", [torch.sign, torch.round, lambda x: (x > 0.5).to(x)])
def test_a_map_that_is_constant_near_a_point_alone_is_undecided(f):
    found = spectrum(f, torch.tensor([[0.9, 0.8, 0.7], [0.6, 0.7, 0.9]], dtype=torch.float64))
    assert found.verdict == ["undecided"] * 2
