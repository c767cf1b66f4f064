"""Isolated limits beside lines, surfaces and rings of fixed points, told apart point by point."""

import pytest
import torch

from memzoo.dynamics import census, find_attractors
from memzoo.dynamics.attractors.continua import push_fixed_points

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def settle_in_cells(a):
    """Draw each number to the middle of its cell [k, k + 1), with slope 0.2."""
    middle = a.floor() + 0.5
    return middle + 0.2 * (a - middle)


def line_and_points(slope=0.5):
    """Build a map of the plane: left of 0 each (a, 0) is a fixed point, right of it (k + 1/2, 0) attract."""

    def f(x):
        a, b = x.unbind(1)
        return torch.stack([torch.where(a < 0, a, settle_in_cells(a)), torch.where(a < 0, slope * b, 0.5 * b)], 1)

    return f


def start_on_both_sides(count, reach=10.0):
    """Draw ``count`` starts on the left, and one in each of six cells on the right."""
    a = torch.cat([-reach * torch.rand(count).double() - 1e-3, torch.arange(6) + 0.3])
    return torch.stack([a, torch.randn(count + 6).double()], 1)


@pytest.mark.parametrize("count", [30, 80, 700])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_line_of_fixed_points_hides_no_attractor(count, scale):
    f = line_and_points()
    starts = scale * start_on_both_sides(count)
    found = find_attractors(lambda x: scale * f(x / scale), starts, eps=0.1 * scale)
    ends = sorted(one.points[0, 0].item() / scale for one in found.found)
    assert ends == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
    assert (found.resting, found.moving, found.divergent) == (count, 0, 0)


@DTYPES
def test_the_census_keeps_isolated_limits_beside_a_line(dtype):
    starts = start_on_both_sides(300).to(dtype)
    examples = torch.tensor([[2.5, 0.0], [4.5, 0.0]], dtype=dtype)
    found = census(line_and_points(), starts, examples)
    assert found.label.tolist() == [-1] * 300 + [-1, -1, 0, -1, 1, -1]
    assert [one.count for one in found.limits] == [300] + [1] * 6
    assert [one.continuum for one in found.limits] == [True] + [False] * 6


def test_attractors_far_closer_than_the_derived_scale_are_told_apart():
    # most ends lie a million away, so that a hundredth of the derived eps holds all six attractors
    starts = start_on_both_sides(100, reach=1e6)
    found = find_attractors(line_and_points(), starts)
    assert found.eps > 1e3
    assert len(found.found) == 6
    assert found.resting == 100


def test_a_line_that_repels_to_its_sides_hides_no_attractor():
    starts = start_on_both_sides(400)
    starts[:, 1] = 0
    found = find_attractors(line_and_points(slope=2.0), starts, eps=0.1)
    assert len(found.found) == 6
    assert found.resting + found.moving == 400


@DTYPES
def test_a_ring_of_fixed_points_beside_an_attractor(dtype):
    def f(x):  # onto the unit circle in the plane of the first two coordinates; above z = 5 to (0, 0, 10)
        plane = x[:, :2]
        size = plane.norm(dim=1, keepdim=True)
        above = x[:, 2:] > 5
        plane = torch.where(above, 0.3 * plane, plane / size * (1 + 0.5 * (size - 1)))
        return torch.cat([plane, torch.where(above, 10 + 0.3 * (x[:, 2:] - 10), 0.5 * x[:, 2:])], 1)

    starts = torch.cat([torch.randn(200, 3) * torch.tensor([1, 1, 0.1]), torch.tensor([[0.1, 0.2, 9]])]).to(dtype)
    found = census(f, starts, torch.tensor([[0.0, 0, 10]], dtype=dtype), eps=0.1)
    assert found.counts == {-1: 200, 0: 1}
    assert [(one.continuum, one.count) for one in found.limits] == [(True, 200), (False, 1)]
    assert found.limits[0].radius == pytest.approx(1, abs=1e-5)


def test_a_cycle_beside_a_line_of_fixed_points():
    def f(x):  # right of 0 the distance from 5 goes to 1, on alternating sides
        a, b = x.unbind(1)
        from_five = a - 5
        cycle = 5 - from_five.sign() * (1 + 0.3 * (from_five.abs() - 1))
        return torch.stack([torch.where(a < 0, a, cycle), 0.5 * b], 1)

    a = torch.cat([-5 * torch.rand(100).double(), torch.tensor([6.2, 4.2, 5.5, 3.5]).double()])
    starts = torch.stack([a, torch.randn(104).double()], 1)
    found = census(f, starts, torch.full((1, 2), 50.0), eps=0.1)
    assert found.counts == {-1: 100, -2: 4}
    assert [(one.period, one.continuum) for one in found.limits] == [(1, True), (2, False)]


@DTYPES
def test_one_large_column_does_not_merge_limits_that_differ_in_another(dtype):
    def f(x):
        return torch.stack([1e6 + 0.5 * (x[:, 0] - 1e6), settle_in_cells(x[:, 1])], 1)

    cell = torch.arange(60) % 6
    starts = torch.stack([1e6 + torch.randn(60), cell + 0.3 + 0.4 * torch.rand(60)], 1).to(dtype)
    examples = torch.stack([torch.full((6,), 1e6), torch.arange(6) + 0.5], 1).to(dtype)
    found = census(f, starts, examples)
    assert torch.equal(found.label, cell)
    assert [one.count for one in found.limits] == [10] * 6


@pytest.mark.parametrize("eps", [None, 0.1])
def test_limits_that_differ_in_the_last_digits_are_different(eps):
    def f(x):
        return 1 + 1e-9 * settle_in_cells(1e9 * (x - 1))

    cell = torch.arange(40) % 4
    starts = (1 + 1e-9 * (cell + 0.3).double())[:, None]
    examples = (1 + 1e-9 * (torch.arange(4) + 0.5).double())[:, None]
    found = census(f, starts, examples, eps=eps)
    assert [one.count for one in found.limits] == [10] * 4
    assert torch.equal(found.label, cell)


def test_labels_do_not_depend_on_the_other_starts_or_their_order():
    starts = start_on_both_sides(10)
    examples = torch.tensor([[2.5, 0.0], [4.5, 0.0]], dtype=torch.float64)
    f = line_and_points()
    whole = census(f, starts, examples).label
    order = torch.randperm(len(starts))
    assert torch.equal(census(f, starts[order], examples).label, whole[order])
    for size in (1, 7):
        parts = [census(f, part, examples).label for part in starts.split(size)]
        assert torch.equal(torch.cat(parts), whole)


def test_the_radius_of_one_example_decides_about_that_example_alone():
    starts = torch.tensor([[0.2], [1.2], [2.2]], dtype=torch.float64)
    examples = torch.tensor([[0.6], [1.6], [2.6]], dtype=torch.float64)
    eps = torch.tensor([1e-9, 0.2, 0.2], dtype=torch.float64)
    found = census(settle_in_cells, starts, examples, eps=eps)
    assert found.label.tolist() == [-1, 1, 2]
    assert torch.equal(found.eps, eps)
    assert str(found).startswith("3 starts, eps = 1e-09 / 0.2 / 0.2")
    assert find_attractors(settle_in_cells, starts, eps=eps).eps == pytest.approx(0.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_orbits_in_half_precision_end_at_their_attractors(dtype):
    starts = torch.tensor([[3.0, 1], [0.25, -2], [-1, 0.5], [-0.5, -0.5]]).to(dtype)
    examples = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).to(dtype)
    with pytest.warns(UserWarning, match=r"starts are torch\.b?float16.* measured as it computes in float32"):
        found = census(lambda x: 0.5 * x + 0.5 * x.sign(), starts, examples)
    assert found.label.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("dtype", "rate"), [(torch.float16, 4e-4), (torch.bfloat16, 3e-3)])
def test_labels_in_half_precision_are_those_of_the_map_in_float32(dtype, rate):
    # steps of this rate are lost in half precision, where every point would rest where it is
    starts = torch.tensor([[1.5, 1], [0.5, 1.5]]).to(dtype)
    examples = torch.tensor([[1.0, 1], [0.5, 1.5]]).to(dtype)

    def creep(x):
        return x + rate * (1 - x)

    assert torch.equal(creep(starts[1:]), starts[1:])
    with pytest.warns(UserWarning, match=r"measured as it computes in float32"):
        found = census(creep, starts, examples, steps=30_000)
    assert found.label.tolist() == [0, 0]
    assert census(creep, starts.float(), examples.float(), steps=30_000).label.tolist() == [0, 0]


MAPS = {
    "identity": (lambda x: 1 * x, True),
    "projection": (lambda x: x * torch.tensor([1.0, 0, 0]).to(x), True),
    "half space": (lambda x: x.clamp(max=0), True),
    "contraction": (lambda x: 0.9 * x, False),
    "slow contraction": (lambda x: (1 - 1e-7) * x, False),
    "reflection": (lambda x: -x, False),
    "slower than any power": (lambda x: x - x**3, False),
    "repeller": (lambda x: 1.1 * x, False),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_only_what_rests_after_a_push_is_a_continuum(name, scale):
    f, expected = MAPS[name]
    origin = torch.zeros(1, 3, dtype=torch.float64)
    pushed = push_fixed_points(lambda x: scale * f(x / scale), origin, 0.5 * scale, 300)
    assert pushed.continuum.tolist() == [expected]
    assert pushed.leaves.tolist() == [name == "repeller"]
