import pytest
import torch
from draws import normal, uniform
from plane_maps import halves

from memzoo.dynamics import example_eps, recovery_curve
from memzoo.errors import NonFiniteError
from memzoo.metrics.recovery import RecoveryProbability, recovery_probability


@pytest.mark.parametrize("eps", [0.3, 0.8, 3.0])
def test_it_equals_the_definition(eps):
    points = normal(40, 1, 3)
    examples = normal(25, 1, 3)
    distance = (points[:, None] - examples[None]).flatten(2).norm(dim=2)
    expected = (distance.amin(0) < eps).double().mean()
    assert 0 < recovery_probability(points, examples, eps) == expected


def test_it_ends_the_curve_of_recovery():
    starts = uniform(100, 2) * 2 - 1
    examples = torch.tensor([[-1.0, 0], [1, 0], [0, 0.5]], dtype=torch.float64)
    curve = recovery_curve(halves, starts, examples, 30, eps=0.05)
    value = recovery_probability(curve.points, examples, 0.05).item()
    assert value == pytest.approx(curve.rate[-1].item()) == pytest.approx(2 / 3)


def test_a_small_eps_is_decided_exactly_in_float32():
    # |a|^2 + |b|^2 - 2ab in float32 cannot tell 0.9e-3 from 1.1e-3 at norm 28
    examples = torch.rand(50, 784) + 0.5
    direction = torch.nn.functional.normalize(normal(50, 784), dim=1)
    offset = torch.where(torch.arange(50) % 2 == 0, 0.9e-3, 1.1e-3)
    points = examples.double() + offset[:, None] * direction
    assert recovery_probability(points, examples, 1e-3) == 0.5
    exact = (points.float().double() - examples.double()).norm(dim=1) < 1e-3
    expected = exact.double().mean()
    assert recovery_probability(points.float(), examples, 1e-3) == expected


def test_the_ball_is_open_and_repeated_examples_count_each():
    examples = torch.tensor([[0.0], [0.0], [5.0]])
    assert recovery_probability(torch.tensor([[0.5]]), examples, 0.5) == 0
    found = recovery_probability(torch.tensor([[0.49]]), examples, 0.5).item()
    assert found == pytest.approx(2 / 3)


def test_points_that_are_not_finite_are_near_nothing():
    points = torch.tensor([[torch.nan, 0], [torch.inf, 0], [-torch.inf, torch.nan], [0, 0]])
    examples = torch.tensor([[0.0, 0], [9.0, 9]])
    assert recovery_probability(points, examples, 1.0) == 0.5
    assert recovery_probability(points[:3], examples, 1.0) == 0


def test_rotating_space_and_permuting_rows_change_nothing():
    rotation = torch.linalg.qr(normal(4, 4)).Q
    points = normal(30, 4)
    examples = normal(20, 4)
    expected = recovery_probability(points, examples, 0.9)
    assert recovery_probability(points @ rotation, examples @ rotation, 0.9) == expected
    found = recovery_probability(points[torch.randperm(30)], examples[torch.randperm(20)], 0.9)
    assert found == expected


def test_metric_unites_what_batches_reach():
    examples = torch.eye(4)
    metric = RecoveryProbability(examples, eps=0.1)
    for batch, expected in ((examples[[0, 0]], 0.25), (examples[[0, 1]], 0.5), (examples[:0], 0.5)):
        metric.update(batch)
        assert metric.compute() == expected
    assert metric(examples[2:3]) == 0.25  # forward: this batch alone
    assert metric.compute() == 0.75
    assert metric.hits.tolist() == [3, 1, 1, 0]


@pytest.mark.parametrize("eps", [0, -1.0, torch.inf, torch.nan, "0.1", torch.zeros(1)])
def test_eps_is_checked(eps):
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0, got"):
        recovery_probability(torch.ones(1, 2), torch.ones(1, 2), eps)
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0, got"):
        RecoveryProbability(torch.ones(1, 2), eps)
    with pytest.raises(ValueError, match=r"one for each example, got 3 for 1 examples"):
        RecoveryProbability(torch.ones(1, 2), torch.ones(3))


def test_each_example_has_its_own_radius():
    examples = torch.tensor([[0.0], [1.0], [5.0]])
    points = examples + 0.3
    for eps in (torch.tensor([0.4, 0.2, 0.4]), None):
        # a tenth of the distance to the nearest other example is .1, .1 and .4
        expected = ((example_eps(examples) if eps is None else eps) > 0.3).double().mean()
        metric = RecoveryProbability(examples, eps)
        metric.update(points)
        assert metric.compute() == recovery_probability(points, examples, eps) == expected
        assert metric.compute() == (2 / 3 if eps is not None else 1 / 3)


def test_other_errors():
    with pytest.raises(TypeError, match="eps"):
        RecoveryProbability(torch.ones(1, 2))
    with pytest.raises(ValueError, match="points and examples must be points of one space"):
        recovery_probability(torch.ones(1, 2), torch.ones(1, 3), 0.1)
    with pytest.raises(NonFiniteError, match="examples holds NaN"):
        RecoveryProbability(torch.full((1, 2), torch.nan), 0.1)
    with pytest.raises(NonFiniteError, match="examples holds NaN"):
        recovery_probability(torch.ones(1, 2), torch.full((1, 2), torch.nan), 0.1)
