"""Bounds on the spectral radius by squaring."""

import pytest
import torch
from torch import nn

from memzoo.dynamics import radius_bracket, spectrum
from memzoo.dynamics.spectra.radius import bound_radius
from memzoo.errors import NonFiniteError
from memzoo.models import FullyConnected


@pytest.mark.parametrize("size", [1, 2, 9, 40])
def test_the_radius_lies_between_the_bounds(size):
    scales = torch.logspace(-3, 1, 50).double()
    matrices = torch.randn(50, size, size, dtype=torch.float64) * scales[:, None, None]
    lower, upper = bound_radius(matrices, torch.zeros(50, dtype=torch.float64))
    radius = torch.linalg.eigvals(matrices).abs().amax(1)
    assert (lower <= radius * (1 + 1e-12)).all()
    assert (radius <= upper * (1 + 1e-12)).all()
    assert (upper / lower).max() < 1.02


def test_the_radius_of_a_network_lies_between_its_bounds():
    model = FullyConnected(shape=(12,), depth=4, width=7)
    x = torch.rand(6, 12)
    lower, upper = radius_bracket(model, x)
    radius = spectrum(model, x).radius
    assert (lower <= radius).all()
    assert (radius <= upper).all()
    assert upper.requires_grad


@pytest.mark.parametrize(
    ("build", "dim"), [(lambda: nn.Linear(3, 3), 3), (lambda: FullyConnected(shape=(6,), depth=3, width=2), 6)]
)
def test_gradients_equal_finite_differences(build, dim):
    model = build().double()
    x = torch.rand(2, dim).double()
    weight = next(model.parameters())
    upper = radius_bracket(model, x)[1].sum()
    (gradient,) = torch.autograd.grad(upper, weight)
    direction = torch.randn_like(weight)
    step = 1e-6
    sums = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * step * direction)
            sums.append(radius_bracket(model, x)[1].sum().item())
            weight.sub_(sign * step * direction)
    # central difference, error O(step^2)
    difference = (sums[0] - sums[1]) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-4)


def test_the_upper_bound_as_a_penalty_makes_points_contract():
    model = FullyConnected(shape=(10,), depth=3, width=8, init="kaiming_normal")
    x = torch.rand(4, 10)
    with torch.no_grad():
        model.net[1].weight.mul_(3)
    assert (spectrum(model, x).radius > 1).any()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (radius_bracket(model, x)[1] - 0.8).clamp(min=0).sum().backward()
        optimizer.step()
    assert (spectrum(model, x).radius < 0.9).all()


def test_a_map_that_is_nowhere_narrow_is_bounded_by_its_full_jacobian():
    values = torch.linspace(0.9, -0.5, 300, dtype=torch.float64)
    lower, upper = radius_bracket(lambda x: (values * x).tanh(), torch.zeros(2, 300))
    assert (lower <= 0.9).all()
    assert (upper >= 0.9).all()
    assert (upper < 0.91).all()


def test_the_bounds_of_a_zero_map_and_of_a_very_large_one_meet():
    lower, upper = radius_bracket(lambda x: 0 * x, torch.rand(1, 3))
    assert [lower.item(), upper.item()] == pytest.approx([0, 0])
    lower, upper = radius_bracket(lambda x: 1e100 * x, torch.rand(1, 3).double())
    assert lower.item() == pytest.approx(1e100) == pytest.approx(upper.item(), rel=1e-2)


def test_an_error_names_the_point_whose_jacobian_is_not_finite():
    with pytest.raises(NonFiniteError, match=r"Jacobian at row 1 holds NaN or infinity"):
        radius_bracket(lambda x: x.abs().sqrt(), torch.tensor([[1.0], [0.0]]))
