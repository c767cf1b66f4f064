"""Distances from the identity and from the constant maps, and the scatter both are relative to."""

from fractions import Fraction

import pytest
import torch
from draws import normal
from torch.testing import assert_close

from memzoo.metrics.constant import ConstantDistance, constant_distance
from memzoo.metrics.identity import IdentityDistance, identity_distance
from memzoo.metrics.scatter import empty_state, merge_states, scatter_state


def test_the_trivial_maps_themselves():
    x = normal(9, 2, 3)
    mean = x.mean(0).expand_as(x)
    assert identity_distance(x, x) == 0
    assert identity_distance(mean, x).item() == pytest.approx(1, rel=1e-14)
    assert constant_distance(x, x).item() == 1
    assert constant_distance(torch.full_like(x, 0.1), x) == 0


def test_a_multiple():
    x = normal(50, 4)
    x -= x.mean(0)
    assert identity_distance(-0.5 * x, x).item() == pytest.approx(1.5)
    assert constant_distance(-0.5 * x + 7, x).item() == pytest.approx(0.5)


@pytest.mark.parametrize("k", [0, 1, 3, 4])
def test_a_projection_of_isotropic_data(k):
    x = torch.cat([torch.eye(4), -torch.eye(4)]).double()
    basis = torch.linalg.qr(normal(4, 4)).Q[:, :k]
    y = x @ basis @ basis.mT
    # a projection on k of 4 isotropic directions keeps k / 4 of the scatter
    expected = (1 - k / 4) ** 0.5
    assert identity_distance(y, x).item() == pytest.approx(expected, abs=1e-14)
    found = constant_distance(y, x).item()
    assert found == pytest.approx((k / 4) ** 0.5, abs=1e-14)


@pytest.mark.parametrize("distance", [identity_distance, constant_distance])
def test_motions_of_space_and_order_of_rows_change_nothing(distance):
    rotation = torch.linalg.qr(normal(5, 5)).Q
    y, x = normal(2, 8, 5)
    order = torch.randperm(8)
    expected = distance(y, x)
    assert_close(distance(y @ rotation + 2, x @ rotation + 2), expected)
    assert_close(distance(y[order], x[order]), expected)


@pytest.mark.parametrize(
    ("metric", "distance"), [(IdentityDistance, identity_distance), (ConstantDistance, constant_distance)]
)
@pytest.mark.parametrize("sizes", [[20], [1] * 20, [7, 0, 13]])
def test_batches_equal_the_whole(metric, distance, sizes):
    y, x = torch.randn(2, 20, 2, 3)
    found = metric(shape=(2, 3))
    for rows in torch.arange(20).split(sizes):
        found.update(y[rows], x[rows])
    assert_close(found.compute(), distance(y, x), rtol=1e-14, atol=0)


def compute_exact_scatter(x):
    """Sum the squares about the mean, in rational numbers."""
    total = Fraction(0)
    for column in x.double().mT.tolist():
        values = [Fraction(value) for value in column]
        mean = sum(values) / len(values)
        total += sum((value - mean) ** 2 for value in values)
    return float(total)


@pytest.mark.parametrize("parts", [1, 2, 5, 40])
def test_scatter_far_from_the_origin_keeps_its_digits(parts):
    x = (1e7 + torch.randn(40, 3)).float()  # whole numbers: float32 resolves 1 there
    # sum of squares less n times the squared mean: the difference of two large numbers
    naive = (x.square().sum() - len(x) * x.mean(0).square().sum()).item()
    expected = compute_exact_scatter(x)
    assert abs(naive / expected - 1) > 0.1  # what a difference of sums in float32 makes of it
    state = empty_state((3,))
    for part in x.chunk(parts):
        state = merge_states(torch.stack([state, scatter_state(part)]))
    assert state[0] == 40
    assert state[1].item() == pytest.approx(expected, rel=1e-9)
    assert_close(state[2:], x.double().mean(0), rtol=1e-15, atol=0)


def test_scatter_in_float64_far_from_the_origin():
    x = 1e9 + normal(60, 2)
    naive = (x.square().sum() - len(x) * x.mean(0).square().sum()).item()
    expected = compute_exact_scatter(x)
    assert abs(naive / expected - 1) > 1e-2
    many = torch.stack([scatter_state(part) for part in x.chunk(7)])
    assert merge_states(many)[1].item() == pytest.approx(expected, rel=1e-8)


def test_float32_rows_on_a_large_offset():
    x = (1e6 + torch.randn(100, 5)).float()
    y = x + 1
    metrics = IdentityDistance((5,)), ConstantDistance((5,))
    for part in range(0, 100, 10):
        for metric in metrics:
            metric.update(y[part : part + 10], x[part : part + 10])
    scatter = compute_exact_scatter(x)
    found = metrics[0].compute().item()
    # y - x = 1 in each of 100 * 5 numbers
    assert found == pytest.approx((500 / scatter) ** 0.5, rel=1e-9)
    assert metrics[1].compute().item() == pytest.approx(1, rel=1e-9)


def test_equal_rows_do_not_scatter_at_all():
    points = torch.full((7, 3), 0.1, dtype=torch.float64)
    found = scatter_state(points)[1]
    assert found == 0


@pytest.mark.parametrize("metric", [IdentityDistance, ConstantDistance])
def test_equal_rows_do_not_scatter_in_batches_either(metric):
    found = metric((1,))
    for count in (3, 4, 1, 7, 11):
        rows = torch.full((count, 1), 0.1, dtype=torch.float64)
        found.update(rows, rows)
    assert found.inputs[1] == 0


def test_equal_rows_do_not_scatter_over_processes_of_which_the_first_saw_none():
    states = [scatter_state(torch.full((n, 1), 0.1, dtype=torch.float64)) for n in (3, 4, 1, 7, 11)]
    found = merge_states(torch.stack([empty_state((1,)), *states]))[1]
    assert found == 0


def test_float32_rows_are_subtracted_in_float64():
    x = torch.tensor([[0.0], [2.0**-30]])
    y = torch.tensor([[0.0], [1.0]])
    # x scatters by (2^-30)^2 / 2, and y - x = (0, 1 - 2^-30)
    expected = (1 - 2**-30) / (2**-30 * 0.5**0.5)
    assert identity_distance(y, x).item() == pytest.approx(expected, rel=1e-12)


def test_without_scatter_there_is_no_scale():
    x = torch.ones(3, 2)
    assert identity_distance(x + 1, x) == torch.inf
    assert identity_distance(x, x).isnan()
    assert constant_distance(x, x).isnan()


@pytest.mark.parametrize("metric", [IdentityDistance, ConstantDistance])
def test_errors(metric):
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"one shape, row by row, got \(2, 3\) and \(2, 2\)"):
        metric((3,)).update(x, torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"rows of shape \(1, 3\), as the metric was built for, got \(2, 3\)"):
        metric((1, 3)).update(x, x)
    with pytest.raises(TypeError, match=r"floating point, got torch\.int64"):
        metric((3,)).update(x, x.long())


@pytest.mark.parametrize("distance", [identity_distance, constant_distance])
def test_function_errors(distance):
    with pytest.raises(ValueError, match=r"one shape, row by row, got \(2, 3\) and \(2, 2\)"):
        distance(torch.ones(2, 3), torch.ones(2, 2))
