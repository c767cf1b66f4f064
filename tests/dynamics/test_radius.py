"""Bounds on the spectral radius by squaring."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from memzoo.dynamics import radius_bracket, spectrum
from memzoo.dynamics.spectra.radius import bound_radius
from memzoo.errors import NonFiniteError, NotDifferentiableError
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


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("delta", [1e-6, 1e-2])
def test_the_bounds_hold_for_every_matrix_near_the_identity(size, delta):
    # E = I delta / sqrt(k) has the norm delta; I + E has the radius 1 + delta / sqrt(k), I - E has 1 - delta / sqrt(k)
    identity = torch.eye(size, dtype=torch.float64)[None]
    lower, upper = bound_radius(identity, torch.tensor([delta], dtype=torch.float64))
    assert 1 - 2 * delta < lower.item() <= (1 - delta / size**0.5) * (1 + 1e-14)
    assert 1 + delta / size**0.5 <= upper.item() < 1.2


@pytest.mark.parametrize("delta", [1e-10, 1e-4])
def test_the_bounds_hold_for_every_matrix_near_one_whose_square_is_zero(delta):
    # [[0, 1], [0, 0]] has radius 0, and [[0, 1], [delta, 0]] has radius sqrt(delta)
    nilpotent = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    lower, upper = bound_radius(nilpotent, torch.tensor([delta], dtype=torch.float64))
    assert lower.item() == 0
    assert delta**0.5 <= upper.item() < 2 * delta**0.5


def test_the_rounding_of_the_products_raises_no_lower_bound():
    # The square of [[a b, -a^2], [b^2, -a b]] is zero, but not that of its rounded entries in other units.
    a, b = torch.randint(1, 1000, (2, 200), generator=torch.Generator().manual_seed(0)).double()
    matrices = torch.stack([a * b, -a * a, b * b, -a * b], 1).reshape(-1, 2, 2)
    lower, _ = bound_radius(matrices, torch.zeros(200, dtype=torch.float64))
    assert not lower.any()


def test_the_bounds_of_a_jacobian_cover_the_rounding_of_its_entries():
    # A shift of four coordinates has radius 0; one unit in the last place in the corner makes it eps^(1/4).
    shift = torch.ones(3, dtype=torch.float64).diag(1)
    lower, upper = radius_bracket(lambda x: x @ shift.T, torch.zeros(1, 4))
    assert lower.item() == 0
    assert torch.finfo(torch.float64).eps ** 0.25 <= upper.item() < 1e-2
    # The powers of 1 are exact: only the entry itself may be rounded, which leaves open on which side of 1 it is.
    lower, upper = radius_bracket(lambda x: x * 1, torch.zeros(1, 1))
    assert lower.item() < 1 < upper.item() < 1 + 1e-12


def test_the_bounds_cover_the_rounding_of_factors_that_cancel():
    # The Jacobian u v^T has the radius |v . u|, which is far smaller than what the products u_i v_i round off.
    u = 1e6 * torch.rand(9, dtype=torch.float64)
    v = 1e6 * torch.rand(9, dtype=torch.float64)
    v[-1] = -(v[:-1] @ u[:-1]) / u[-1]
    radius = abs(sum(Fraction(a) * Fraction(b) for a, b in zip(u.tolist(), v.tolist(), strict=True)))
    lower, upper = radius_bracket(lambda x: (x @ v)[:, None] * u, torch.zeros(1, 9))
    assert lower.item() <= radius <= upper.item()
    model = nn.Sequential(nn.Linear(9, 1, bias=False), nn.Linear(1, 9, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(v[None])
        model[1].weight.copy_(u[:, None])
    lower, upper = radius_bracket(model, torch.zeros(1, 9))  # through the cut
    assert lower.item() <= radius <= upper.item()


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


@pytest.mark.parametrize("scale", [1e-200, 1e-80, 1e160, 1e300])
def test_matrices_of_extreme_entries_are_bounded(scale):
    matrix = torch.randn(6, 6, dtype=torch.float64)
    radius = torch.linalg.eigvals(matrix).abs().max().item()
    lower, upper = radius_bracket(lambda x: x @ (scale * matrix).T, torch.zeros(1, 6, dtype=torch.float64))
    assert lower.item() <= scale * radius * (1 + 1e-12)
    assert scale * radius * (1 - 1e-12) <= upper.item()
    assert upper.item() < 1.02 * lower.item()


def test_factors_whose_norms_leave_the_number_range_are_bounded():
    # The Jacobian 1e200 u (1e-200 v)^T is an ordinary matrix of radius |v . u|.
    u = torch.rand(9, dtype=torch.float64)
    v = torch.rand(9, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(9, 1, bias=False), nn.Linear(1, 9, bias=False)).double()
    for power in (1e200, 1e-200):
        with torch.no_grad():
            model[0].weight.copy_(v[None] / power)
            model[1].weight.copy_(u[:, None] * power)
        lower, upper = radius_bracket(model, torch.zeros(1, 9))
        radius = (u @ v).item()
        assert lower.item() <= radius * (1 + 1e-13)
        assert radius * (1 - 1e-13) <= upper.item() < 1.01 * radius
        found = spectrum(model, torch.zeros(1, 9))
        assert found.method == "cut"
        assert abs(found.radius.item() - radius) <= found.radius_error.item() < 1e-12


def test_the_bounds_cover_the_rounding_of_their_own_logarithms():
    # The radius of a 1 x 1 matrix is its entry, exactly; the logarithm of an extreme entry is rounded most.
    entries = torch.cat([torch.logspace(-150, 150, 301, dtype=torch.float64), torch.rand(500, dtype=torch.float64)])
    lower, upper = bound_radius(entries[:, None, None], torch.zeros_like(entries))
    assert (lower <= entries).all()
    assert (entries <= upper).all()
    assert ((upper - lower) < 1e-10 * entries).all()


class Outside(nn.Module):
    """A module whose derivative autograd does not see, and of which there is no trace."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.8))

    def forward(self, x):
        return torch.from_numpy((self.scale * x).detach().numpy().copy())


@pytest.mark.filterwarnings("ignore:torch.func cannot differentiate")
def test_bounds_by_differences_are_refused_where_a_gradient_may_be_asked_for():
    x = torch.rand(2, 3)
    with pytest.raises(NotDifferentiableError, match=r"differences have no gradient.*torch\.no_grad"):
        radius_bracket(Outside(), x)
    with torch.no_grad():
        lower, upper = radius_bracket(Outside(), x)
    assert (lower > 0.79).all()
    assert (upper < 0.81).all()


@pytest.mark.parametrize("digits", [1, 2])
def test_a_staircase_has_no_bounds(digits):
    lower, upper = radius_bracket(lambda x: (0.5 * x).round(decimals=digits), torch.rand(3, 4))
    assert not lower.any()
    assert upper.isposinf().all()
