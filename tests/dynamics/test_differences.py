"""Jacobians by differences of the map alone, against closed forms, and the bounds on their errors."""

import math

import pytest
import torch
from torch import nn

from memzoo.dynamics import spectrum
from memzoo.dynamics.spectra.differences import compute_jacobians_by_differences
from memzoo.dynamics.spectra.inexact_factors import build_inexact_factors


def measure_error(found, true):
    return torch.linalg.matrix_norm(found.jacobians.double() - true)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize(("dtype", "least"), [(torch.float64, 1e-6), (torch.float32, 1e-2)])
def test_the_bound_holds_at_every_scale_and_is_small(scale, dtype, least):
    matrix = torch.randn(7, 7, dtype=dtype)
    x = scale * torch.randn(3, 7, dtype=dtype)
    found = compute_jacobians_by_differences(lambda rows: scale * torch.tanh((rows / scale) @ matrix.T), x)
    slopes = 1 - torch.tanh((x.double() / scale) @ matrix.double().T) ** 2
    true = slopes[:, :, None] * matrix.double()
    assert (measure_error(found, true) <= found.error).all()
    assert (found.error <= least * torch.linalg.matrix_norm(true)).all()


@pytest.mark.parametrize("mean", [0.0, 1.0, 1e4, 1e6, 1e8])
def test_a_step_does_not_jump_over_the_bends_of_a_map_far_from_zero(mean):
    # Beyond mean + 1 and mean - 1 the map is flat, so that a long step sees a slope near zero on both sides.
    x = torch.tensor([[mean + 1.0]], dtype=torch.float64)
    found = compute_jacobians_by_differences(lambda rows: mean + torch.tanh(3 * (rows - mean)) / math.tanh(3), x)
    true = torch.tensor([[[3 * (1 - math.tanh(3) ** 2) / math.tanh(3)]]], dtype=torch.float64)
    assert (measure_error(found, true) <= found.error).all()
    assert found.error < 0.05 * true.abs().max()


def test_a_network_of_many_kinks_is_measured_between_them():
    net = nn.Sequential(nn.Linear(60, 200), nn.ReLU(), nn.Linear(200, 200), nn.LeakyReLU(), nn.Linear(200, 60)).double()
    x = torch.rand(2, 60, dtype=torch.float64)
    true = torch.stack([torch.autograd.functional.jacobian(lambda row: net(row[None])[0], row) for row in x])
    found = compute_jacobians_by_differences(net, x, rows=64)
    assert (measure_error(found, true) <= found.error).all()
    assert (found.error <= 1e-5 * torch.linalg.matrix_norm(true)).all()


def test_the_bound_covers_both_sides_of_a_kink():
    x = torch.zeros(1, 3, dtype=torch.float64)
    found = compute_jacobians_by_differences(torch.relu, x)
    for side in (0.0, 1.0):
        assert measure_error(found, side * torch.eye(3, dtype=torch.float64)[None]) <= found.error


def test_a_map_that_changes_the_number_of_values_has_its_rectangular_jacobian():
    matrix = torch.randn(2, 5, dtype=torch.float64)
    found = compute_jacobians_by_differences(
        lambda x: x.flatten(1) @ matrix.T, torch.randn(3, 1, 5, dtype=torch.float64)
    )
    torch.testing.assert_close(found.jacobians, matrix.expand(3, 2, 5), rtol=0, atol=1e-6)


def test_a_map_without_a_finite_value_has_no_bound():
    found = compute_jacobians_by_differences(lambda x: x * torch.nan, torch.ones(1, 2, dtype=torch.float64))
    assert found.error.isnan().all()


def test_constants_and_numbers_at_the_ends_of_the_range():
    for f, slope in ((torch.zeros_like, 0.0), (torch.ones_like, 0.0), (lambda x: 2 * x, 2.0)):
        for size in (1e-300, 0.0, 1e300):
            x = torch.full((1, 2), size, dtype=torch.float64)
            found = compute_jacobians_by_differences(f, x)
            true = slope * torch.eye(2, dtype=torch.float64)[None]
            torch.testing.assert_close(found.jacobians, true, rtol=1e-6, atol=1e-6)


def test_the_diagonal_of_differences_carries_their_error():
    # Far from normal, so that only a triangular matrix could be decided; zeros of differences do not show one.
    torch.manual_seed(0)
    matrix = (30 * torch.randn(40, 40, dtype=torch.float64)).tril(-1) + 0.9 * torch.eye(40, dtype=torch.float64)
    x = torch.rand(1, 40, dtype=torch.float64)
    found = spectrum(lambda rows: rows.sin() @ matrix.T, x, method="differences")
    expected = 0.9 * x.cos().max()
    assert abs(found.radius - expected) <= found.radius_error


def test_selected_factors_keep_their_errors():
    error = torch.tensor([1e-3, 2e-3, 3e-3], dtype=torch.float64)
    factors = build_inexact_factors(2e-16, torch.eye(2, dtype=torch.float64).expand(3, 2, 2), error)
    chosen = factors.select(torch.tensor([2, 0]))
    assert chosen.error.tolist() == [3e-3, 1e-3]
    assert (chosen.change_units()[0].bound_rounding() > 0).all()
