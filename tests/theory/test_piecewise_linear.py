import pytest
import torch
from draws import uniform
from torch.testing import assert_close

from memzoo.dynamics import certify, iterate
from memzoo.theory import attractor_count, attractors, piecewise_linear_map


def evaluate_as_printed(x, values, delta, eps):
    """Evaluate the function of Supplement I.1 in one dimension, case by case, with the slopes as printed."""
    a = (2 * delta - 2 * eps) / (2 * delta)
    first = values[0]
    last = values[-1]
    if x < first - delta:
        return (first - delta + eps) / (first - delta) * x
    if x >= last + delta:
        return (1 - (last + delta - eps)) / (1 - (last + delta)) * (x - 1) + 1
    for i, v in enumerate(values):
        if v - delta <= x < v + delta:
            return a * x + (1 - a) * (v - delta) + eps
        if i + 1 < len(values) and v + delta <= x < values[i + 1] - delta:
            gap = values[i + 1] - v - 2 * delta
            b = (gap + 2 * eps) / gap
            return b * x + (1 - b) * (v + delta) - eps
    raise AssertionError


def test_the_function_is_the_papers():
    values = [0.2, 0.45, 0.8]
    examples = torch.tensor(values, dtype=torch.float64)[:, None]
    f = piecewise_linear_map(examples, eps=0.03)
    x = uniform(500, 1)
    expected = [evaluate_as_printed(point, values, f.delta.item(), f.eps.item()) for point in x[:, 0].tolist()]
    found = f(x)[:, 0]
    assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert f.delta.item() == pytest.approx(0.25 / 4)
    assert f.eps.item() == pytest.approx(0.9 * 0.03)


@pytest.mark.parametrize("eps", [1e-4, 0.05, 10.0])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_examples_are_fixed_attractors_and_the_error_stays_below_eps(n, eps):
    x = 0.05 + 0.9 * uniform(n, 3)
    f = piecewise_linear_map(x, eps)
    assert_close(f(x), x)
    assert (f.contraction >= 0).all()
    assert (f.contraction < 1).all()
    everywhere = torch.cat([uniform(20_000, 3), f.knots.T.clamp(0, 1)])
    assert (f(everywhere) - everywhere).norm(dim=1).max() < eps
    certificates = certify(f, x)
    assert certificates.attractor.all()
    assert_close(certificates.radius, f.contraction.max().expand(n))


def test_the_bound_on_the_error_is_nearly_used():
    examples = torch.tensor([[0.3, 0.6], [0.7, 0.2]], dtype=torch.float64)
    f = piecewise_linear_map(examples, 0.01)
    corner = torch.tensor([[0.3, 0.6]], dtype=torch.float64) + f.delta
    found = (f(corner) - corner).norm().item()
    assert found == pytest.approx(0.9 * 0.01)


def count_slope_changes(f, coordinate):
    """Count the change points inside (0, 1), from values of the function alone."""
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1]
    points = torch.full((len(x), len(f.knots)), 0.5, dtype=torch.float64)
    points[:, coordinate] = x
    bends = f(points)[:, coordinate].diff(n=2).abs() > 1e-9
    return int((bends[1:] & ~bends[:-1]).sum())  # one bend may show in two neighbouring differences


def test_two_change_points_a_value_and_one_more_unit():
    x = torch.tensor([[0.2, 0.5], [0.5, 0.5], [0.7, 0.501]], dtype=torch.float64)  # 3 and 2 distinct values
    f = piecewise_linear_map(x, 0.01)
    assert [count_slope_changes(f, 0), count_slope_changes(f, 1)] == [6, 4]
    assert f.change_points == 10
    assert f.unit_count == 7 + 5
    assert f.knots.shape == (2, 7)
    assert int((f.output_weights.abs() > 0).sum()) == f.unit_count  # the filling does nothing


def test_delta_leaves_room_at_the_ends():
    examples = torch.tensor([[0.01, 0.99, 0.5]], dtype=torch.float64)
    f = piecewise_linear_map(examples, 1.0)
    expected = torch.tensor([0.005, 0.005, 0.25], dtype=torch.float64)
    assert_close(f.delta, expected)
    ends = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    assert_close(f(ends), ends)
    assert (f.slopes[:, [0, -1]] > 1).all()  # repelling


def test_every_combination_of_coordinates_is_an_attractor():
    x = torch.tensor([[0.2, 0.7], [0.5, 0.3], [0.8, 0.5]], dtype=torch.float64)
    f = piecewise_linear_map(x, 0.05)
    expected = attractors(x)
    assert len(expected) == attractor_count(x) == 3**2
    assert certify(f, expected, eps=0.01).attractor.all()
    starts = uniform(500, 2)
    distance = torch.cdist(iterate(f, starts, 3000).points, expected).min(1)
    assert distance.values.max() < 1e-6
    assert len(distance.indices.unique()) == 9
    assert 500 > sum((expected[distance.indices][:, None] == x).all(2).any(1).tolist()) > 0  # most ends are spurious


def test_shared_coordinates_count_once():
    x = torch.tensor([[0.2, 0.7], [0.2, 0.3], [0.2, 0.3]])
    assert attractor_count(x) == 2
    expected = torch.tensor([[0.2, 0.3], [0.2, 0.7]])
    assert torch.equal(attractors(x), expected)
    assert attractor_count(torch.rand(10, 100)) == 10**100


def test_a_wider_interval_takes_black_and_white_pixels():
    x = torch.tensor([[0.0, 1.0], [1.0, 0.25]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"inside the open interval \(0, 1\), they span \[0, 1\].*low=-1, high=2"):
        piecewise_linear_map(x, 0.1)
    f = piecewise_linear_map(x, 0.1, low=-1, high=2)
    assert_close(f(x), x)
    expected = torch.tensor([[-1.0, 2.0]]).double()
    assert_close(f(torch.tensor([[-1.0, 2.0]]).double()), expected)
    assert (f(torch.tensor([[-7.0, -3.0]]).double()) == -1).all()


@pytest.mark.parametrize("eps", [0.0, float("nan"), -1.0])
def test_refusals(eps):
    with pytest.raises(ValueError, match="eps must be a finite number > 0"):
        piecewise_linear_map(torch.rand(2, 2), eps)
    with pytest.raises(ValueError, match="the map has 1000 attractors, more than limit = 10"):
        attractors(torch.rand(10, 3), limit=10)
