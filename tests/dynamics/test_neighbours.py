import math

import pytest
import torch

from memzoo.dynamics.orbits.neighbours import NeighbourTracker, pack_bits, unpack_bits


def distances(points, examples, offset=None):
    squared = (points[:, None].double() - examples.double()).square().sum(2)
    return (squared if offset is None else squared + offset.double() ** 2).sqrt()


def check_tracker(tracker, points, examples, eps, offset=None):
    close = distances(points, examples, offset) < eps
    assert tracker.points_near.tolist() == close.sum(0).tolist()
    assert torch.equal(tracker.reached, close.any(0))
    assert torch.equal(tracker.example_near >= 0, close.any(1))
    row = (tracker.example_near >= 0).nonzero().flatten()
    assert close[row, tracker.example_near[row]].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [0.05, 0.5, 3.0, "mixed"])
@pytest.mark.parametrize("beyond", [0.0, 0.4])
def test_a_random_walk_of_some_rows_at_a_time_is_tracked(dtype, eps, beyond):
    # large eps: each point is in many balls at a time; steps of all sizes, so that some rows wait and some do not
    points = torch.randn(30, 3, dtype=dtype)
    examples = torch.randn(45, 3, dtype=dtype)
    offset = beyond * torch.rand(45, dtype=dtype) if beyond else None
    if eps == "mixed":  # a radius for each example
        eps = 10 ** (2 * torch.rand(45, dtype=torch.float64) - 1.5)
    tracker = NeighbourTracker(points, examples, eps, offset=offset)
    check_tracker(tracker, points, examples, eps, offset)
    waited = 0
    for _ in range(150):
        rows = torch.randperm(30)[:20]
        step = torch.randn(20, 3) * 10 ** (-4 * torch.rand(20, 1))
        before = points[rows]
        points[rows] += step.to(dtype)
        lengths = (points[rows] - before).norm(dim=1)
        waited += 20 - tracker.move(rows, points[rows], lengths)
        check_tracker(tracker, points, examples, eps, offset)
    assert dtype == torch.float16 or waited > 500


@pytest.mark.parametrize("dim", [784, 3072])
@pytest.mark.parametrize("eps", [1e-3, 1e-2, 1e-1])
def test_points_that_barely_cross_the_sphere_are_tracked(dim, eps):
    # straight out and straight in through the sphere around an example in float32, a few units in the last place each
    examples = torch.rand(8, dim)
    direction = torch.nn.functional.normalize(torch.randn(8, dim), dim=1)
    tracker = None
    before = None
    for factor in [*torch.linspace(0.99, 1.01, 41), *torch.linspace(1.01, 0.99, 41)]:
        points = examples + factor * eps * direction
        if tracker is None:
            tracker = NeighbourTracker(points, examples, eps)
        else:
            tracker.move(torch.arange(8), points, (points - before).norm(dim=1))
        before = points
        check_tracker(tracker, points, examples, eps)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_point_is_examined_when_its_path_has_the_length_of_its_slack(direction):
    # distance 1 from the sphere of radius 5 around the origin, from inside and from outside; steps of 1/8 are exact
    points = torch.tensor([[5.0 - direction, 0.0]], dtype=torch.float64)
    tracker = NeighbourTracker(points, torch.zeros(1, 2, dtype=torch.float64), 5.0)
    examined = []
    for _ in range(9):
        points = points + torch.tensor([direction / 8, 0.0])
        examined.append(tracker.move(torch.tensor([0]), points, torch.tensor([1 / 8], dtype=torch.float64)))
        assert bool(tracker.reached) == (points[0, 0] < 5)
    assert examined == [0] * 7 + [1, 1]


def test_rounding_of_the_lengths_is_allowed_for():
    # each step of 1 is given as 1 - 2^-11, a norm of few digits; the path is 1000.5 of these when the sphere is crossed
    points = torch.zeros(1, 1, dtype=torch.float64)
    centre = torch.tensor([[2000.0]], dtype=torch.float64)
    tracker = NeighbourTracker(points, centre, 999.1)
    for t in range(1, 1003):
        length = torch.tensor([1 - 2.0**-11], dtype=torch.float64)
        tracker.move(torch.tensor([0]), torch.full((1, 1), float(t), dtype=torch.float64), length)
        assert bool(tracker.reached) == (2000 - t < 999.1)


def test_rounding_of_the_lengths_grows_with_the_number_of_coordinates():
    # A norm of 20000 squares in float32 may be off by 20000 units in the last place, 2.4e-3 of it. Each step of 1 is
    # given as 1 - 3e-3; the path is 1000.5 of these when the sphere is crossed.
    dim = 20_000
    centre = torch.zeros(1, dim, dtype=torch.float64)  # so that the slack is as long as it may be
    centre[0, 0] = 2000
    point = torch.zeros(1, dim)
    tracker = NeighbourTracker(point, centre, 999.1)
    for t in range(990, 1003):
        length = torch.tensor([(1 - 3e-3) * (990 if t == 990 else 1)])
        point = point.clone()
        point[0, 0] = t
        tracker.move(torch.tensor([0]), point, length)
        assert bool(tracker.reached) == (2000 - t < 999.1)


def test_steps_whose_squares_underflow_add_up():
    # from 4e-23 to 1e-23 and back out in float32, whose norm of such a step is zero
    examples = torch.zeros(1, 1)
    eps = 2e-23
    points = torch.tensor([[4e-23]])
    tracker = NeighbourTracker(points, examples, eps)
    for value in (3e-23, 1e-23, 3e-23):
        points = torch.tensor([[value]])
        tracker.move(torch.tensor([0]), points, torch.zeros(1))
        check_tracker(tracker, points, examples, eps)


def test_a_point_with_a_path_of_unknown_length_is_examined():
    tracker = NeighbourTracker(torch.zeros(2, 1), torch.ones(1, 1), 0.5)
    found = tracker.move(torch.arange(2), torch.ones(2, 1), torch.tensor([math.inf, math.nan]))
    assert found == 2
    assert tracker.points_near.tolist() == [2]


def test_points_beyond_the_range_of_squares_are_tracked():
    points = torch.tensor([[1e30, 0.0], [1.0, 0.0]])
    tracker = NeighbourTracker(points, torch.eye(2), 0.5)
    assert tracker.points_near.tolist() == [1, 0]
    check_tracker(tracker, points, torch.eye(2), 0.5)


def test_a_point_that_comes_back_from_beyond_the_range_of_squares_is_noticed():
    examples = torch.eye(2)
    tracker = NeighbourTracker(torch.tensor([[1e30, 0.0]]), examples, 0.5)
    tracker.move(torch.tensor([0]), torch.tensor([[1.0, 0.0]]), torch.tensor([1e30]))
    check_tracker(tracker, torch.tensor([[1.0, 0.0]]), examples, 0.5)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 40])
def test_eight_flags_are_packed_into_a_byte(count):
    flags = (torch.rand(5, count) < 0.5).to(torch.uint8)
    assert pack_bits(flags).shape == (5, math.ceil(count / 8))
    assert torch.equal(unpack_bits(pack_bits(flags), count), flags)


def test_neighbours_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    from memzoo.dynamics.orbits import distance_bounds

    points = torch.randn(30, 3)
    examples = torch.randn(20, 3)
    monkeypatch.setattr(distance_bounds, "BLOCK_ELEMENTS", 50)
    check_tracker(NeighbourTracker(points, examples, 1.0), points, examples, 1.0)
