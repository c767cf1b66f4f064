import pytest
import torch

from memzoo.dynamics import find_attractors
from memzoo.errors import NotASelfMapError


def two_wells(x):
    """Move toward +1 and -1 in each coordinate, halving the distance; 0 is a repeller."""
    return (x + x.sign()) / 2


def test_the_share_of_each_basin_is_counted_and_the_largest_comes_first():
    starts = torch.tensor([[0.5], [2.0], [3.0], [-0.1], [-7.0]], dtype=torch.float64)
    found = find_attractors(two_wells, starts, eps=0.1)
    assert [one.count for one in found.found] == [3, 2]
    expected = starts.new_tensor([[1.0], [-1.0]])
    torch.testing.assert_close(torch.cat([one.points for one in found.found]), expected)
    assert [round(one.radius, 6) for one in found.found] == [0.5, 0.5]
    assert found.index.tolist() == [0, 0, 0, 1, 1]
    assert found.resting == 0
    assert found.divergent == 0
    assert found.moving == 0


def test_many_orbits_to_one_point_are_one_attractor():
    starts = torch.randn(50, 3, dtype=torch.float64)
    found = find_attractors(lambda x: x / 2 + 1, starts)
    assert [(one.count, one.period) for one in found.found] == [(50, 1)]
    # x = x / 2 + 1 at x = 2
    expected = torch.full((3,), 2.0, dtype=torch.float64)
    torch.testing.assert_close(found.found[0].points[0], expected)
    # eps for a single attractor: a twentieth of its norm sqrt(3 * 2^2)
    assert found.eps == pytest.approx(0.05 * 12**0.5)


def test_a_cycle_is_an_attractor_with_all_its_points():
    def flip(x):  # r -> sqrt(r) on either side of zero, and to the other side: 1 <-> -1 attract
        return -x.sign() * x.abs().sqrt()

    starts = torch.tensor([[0.3], [4.0], [-2.0]], dtype=torch.float64)
    found = find_attractors(flip, starts, eps=0.1)
    (cycle,) = found.found
    assert (cycle.period, cycle.count) == (2, 3)
    assert sorted(cycle.points.flatten().tolist()) == pytest.approx([-1, 1])
    assert cycle.radius == pytest.approx(0.25, abs=1e-6)  # the derivative is 1/2 at either point


def test_the_identity_has_fixed_points_everywhere_and_no_attractor():
    found = find_attractors(lambda x: x.clone(), torch.randn(10, 4))
    assert found.found == ()
    assert found.resting == 10
    assert (found.index == -1).all()


def test_a_saddle_is_no_attractor():
    starts = torch.zeros(1, 1, dtype=torch.float64)
    found = find_attractors(two_wells, starts, eps=0.1)
    assert found.found == ()


def test_orbits_that_diverge_are_counted():
    starts = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    found = find_attractors(lambda x: x * x, starts, eps=0.1)
    assert found.divergent == 1
    assert [one.count for one in found.found] == [1]
    assert found.index.tolist() == [0, -1]


def test_a_rotation_neither_rests_nor_attracts():
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)  # an irrational angle
    starts = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    found = find_attractors(lambda x: x @ turn.T, starts, steps=100)
    assert found.moving == 1
    assert found.found == ()


def test_eps_follows_the_starts_where_all_ends_are_zero():
    starts = torch.full((4, 4), 2.0)
    assert find_attractors(lambda x: 0 * x, starts).eps == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"starts and end points are zero everywhere; pass eps="):
        find_attractors(lambda x: 0 * x, torch.zeros(2, 2))


def test_an_encoder_is_refused():
    with pytest.raises(NotASelfMapError, match=r"pass the full autoencoder"):
        find_attractors(lambda x: x[:, :1], torch.randn(2, 3))


def test_the_attractors_print_as_a_table():
    starts = torch.cat([torch.ones(3, 1), -torch.ones(2, 1)]) * 2
    expected = [
        "2 attractors from 5 starts (0 rest elsewhere, 0 diverge, 0 still move)",
        "  starts  period   radius",
        "       3       1    0.500",
        "       2       1    0.500",
    ]
    assert str(find_attractors(two_wells, starts, eps=0.1)).splitlines() == expected
