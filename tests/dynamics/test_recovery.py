import pytest
import torch

from memzoo.dynamics import recovery_curve
from memzoo.models import FullyConnected


def plain_definition(f, starts, examples, steps, eps):
    """R_t and the share of starts at an example, straight from the definition."""
    rate, arrived, x = [], [], starts
    for t in range(steps + 1):
        x = f(x) if t else x
        close = (x[:, None].double() - examples[None].double()).flatten(2).norm(dim=2) < eps
        rate.append(close.any(0).double().mean().item())
        arrived.append(close.any(1).double().mean().item())
    return rate, arrived


@pytest.mark.parametrize("eps", [1e-3, 0.05, 0.4])
def test_curve_equals_the_definition_on_a_map_with_known_basins(eps):
    # two attractors at -1 and 1 on the first axis, the second axis shrinks: half of the square goes to each
    def f(x):
        return torch.stack([torch.tanh(4 * x[:, 0]) / 0.99932930, 0.7 * x[:, 1]], 1)

    starts = torch.rand(300, 2, dtype=torch.float64) * 2 - 1
    examples = torch.tensor([[-1.0, 0], [1, 0], [0, 0.5]], dtype=torch.float64)
    curve = recovery_curve(f, starts, examples, 40, eps=eps, tol=0)
    rate, arrived = plain_definition(f, starts, examples, 40, eps)
    assert curve.rate.tolist() == pytest.approx(rate)
    assert curve.arrived.tolist() == pytest.approx(arrived)
    assert curve.rate[-1] == pytest.approx(2 / 3)
    sides = (starts[:, 0] > 0).long()
    assert torch.equal(curve.ended_at, sides)


def test_freezing_settled_orbits_changes_no_decision():
    model = FullyConnected(shape=(1, 5, 5), depth=3, width=6).double()
    starts, examples = torch.rand(50, 1, 5, 5).double(), torch.rand(4, 1, 5, 5).double()
    with torch.no_grad():
        examples[0] = model(model(model(model(starts[:1]))))[0]  # on an orbit, passed by on the way to the limit
    frozen = recovery_curve(model, starts, examples, 60, eps=1e-4)
    free = recovery_curve(model, starts, examples, 60, eps=1e-4, tol=0)
    assert torch.equal(frozen.rate, free.rate)
    assert torch.equal(frozen.recovered_at, free.recovered_at)


def test_a_settled_start_goes_on_counting():
    curve = recovery_curve(torch.sign, torch.tensor([[0.3], [-2.0]]), torch.tensor([[1.0], [-1.0]]), 5, eps=0.1)
    assert curve.rate.tolist() == [0, 1, 1, 1, 1, 1]
    assert curve.ended_at.tolist() == [0, 1]


def test_a_drift_of_a_few_units_in_the_last_place_is_followed():
    starts, examples = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    curve = recovery_curve(lambda x: x * (1 - 5e-7), starts, examples, 300, eps=1e-4)
    assert curve.rate[[0, 100, 300]].tolist() == [0.5, 0.5, 0]


def test_passing_by_counts_at_its_time_only():
    # a rotation by 90 degrees passes each of the four points every fourth step
    def f(x):
        return torch.stack([-x[:, 1], x[:, 0]], 1)

    curve = recovery_curve(f, torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1], [-1, 0], [5, 5]]), 6, eps=0.1)
    assert curve.rate.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 0, 0, 1 / 3, 1 / 3])
    assert curve.ever.tolist() == pytest.approx([0, 1 / 3, *[2 / 3] * 5])
    assert curve.recovered_at.tolist() == [1, 2, -1]
    assert curve.ended_at.tolist() == [1]


def test_unrecoverable_is_proven_by_the_range_of_the_last_layer():
    # outputs fill the line b + s w: the example on it is not excluded, the one beside it is
    model = FullyConnected(shape=(3,), depth=2, width=1)
    with torch.no_grad():
        model.output_layer().weight.copy_(torch.tensor([[1.0], [0], [0]]))
        model.output_layer().bias.copy_(torch.tensor([0.0, 2, 0]))
    examples = torch.tensor([[7.0, 2, 0], [7.0, 2, 1]])
    curve = recovery_curve(model, torch.rand(20, 3), examples, 5, eps=0.5)
    assert curve.unrecoverable.tolist() == [False, True]
    assert recovery_curve(model, torch.rand(20, 3), examples, 5, eps=1.5).unrecoverable.tolist() == [False, False]


def test_nothing_is_proven_within_the_rounding_of_the_orbits():
    # outputs fill the plane z = 0; an example 10.0001 above it is not proven out of reach at eps = 10 in float32
    model = FullyConnected(shape=(3,), depth=2, width=2)
    with torch.no_grad():
        model.output_layer().weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
        model.output_layer().bias.zero_()
    for height, proven in ((10.0001, False), (10.1, True)):
        examples = torch.tensor([[0.0, 0, height]])
        assert recovery_curve(model, torch.rand(5, 3), examples, 2, eps=10).unrecoverable.tolist() == [proven]


def test_eps_below_the_resolution_is_said():
    with pytest.warns(UserWarning, match=r"eps = 1e-06 is near the resolution of torch\.float32"):
        recovery_curve(torch.tanh, torch.ones(1, 4), torch.ones(1, 4), 1, eps=1e-6)


def test_errors():
    with pytest.raises(
        ValueError, match=r"starts and examples must be points of one space, got shapes \(1, 3\) and \(2, 4\)"
    ):
        recovery_curve(torch.tanh, torch.zeros(1, 3), torch.rand(2, 4))
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0, got -1"):
        recovery_curve(torch.tanh, torch.zeros(1, 3), torch.rand(2, 3), eps=-1)
