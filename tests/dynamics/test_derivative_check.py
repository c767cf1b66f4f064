"""The derivative of a map is compared with the map, and replaced where autograd has another one."""

import math

import pytest
import torch
from torch import nn

from memzoo.dynamics import certify, radius_bracket, spectrum
from memzoo.dynamics.spectra import compute_leading_eigenvalues
from memzoo.dynamics.spectra.checking import DerivativeCheck, describe_surroundings
from memzoo.dynamics.spectra.jacobian import LARGEST_BY_DIFFERENCES, Jacobians

WRONG = pytest.mark.filterwarnings(
    "ignore:autograd's derivative of", "ignore:torch.func cannot", "ignore:Converting a tensor to a Python"
)


class ScaledGradient(torch.autograd.Function):
    """Returns its input; the gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, *grad_outputs):
        return ctx.factor * grad_outputs[0], None


def hide_by_inference_mode(code):
    with torch.inference_mode():
        hidden = code * 1
    return hidden.clone()


def hook(code):
    if code.requires_grad:
        code.register_hook(lambda gradient: 3 * gradient)
    return code


class Narrow(nn.Module):
    """An autoencoder of 10 -> 3 -> 10 units, tanh between, and something that happens to its code."""

    def __init__(self, happens=lambda code: code, dim=10):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.encoder = nn.Linear(dim, 3)
        self.decoder = nn.Linear(3, dim)
        self.encoder.weight.data = torch.randn(3, dim, generator=generator) / dim**0.5
        self.decoder.weight.data = 2.5 * torch.randn(dim, 3, generator=generator) / 3**0.5
        self.happens = happens

    def forward(self, x):
        return self.decoder(self.happens(torch.tanh(self.encoder(x))))

    def true_radius(self, x):
        """Return the radius from the chain rule, W_d diag(1 - tanh^2) W_e."""
        slope = 1 - torch.tanh(nn.functional.linear(x, self.encoder.weight, self.encoder.bias).double()) ** 2
        core = self.encoder.weight.double() @ self.decoder.weight.double()
        return torch.linalg.eigvals(slope[:, :, None] * core).abs().amax(1).detach()


HIDDEN = {
    "detach": lambda code: code.detach(),
    "data": lambda code: code.data,
    "no_grad": torch.no_grad()(lambda code: code + 0),
    "inference mode": hide_by_inference_mode,
    "numpy": lambda code: torch.from_numpy(code.detach().numpy().copy()),
    "a list": lambda code: torch.tensor(code.tolist(), dtype=code.dtype),
    "a branch on data": lambda code: code.detach() if float(code.detach().sum()) < 100 else code,
    "half is detached": lambda code: 0.5 * code + 0.5 * code.detach(),
    "gradient reversed": lambda code: ScaledGradient.apply(code, -1.0),
    "gradient 2 per cent off": lambda code: ScaledGradient.apply(code, 1.02),
    "hook on the gradient": hook,
}


@WRONG
@pytest.mark.parametrize("method", [None, "dense", "arnoldi"])
@pytest.mark.parametrize("name", HIDDEN)
def test_the_radius_is_that_of_the_map_whatever_autograd_was_told(name, method):
    f = Narrow(HIDDEN[name]).eval()
    x = torch.rand(3, 10)
    if method is None or name not in ("numpy", "a list", "a branch on data"):
        found = spectrum(f, x, top=1, method=method)
        torch.testing.assert_close(found.radius, f.true_radius(x), rtol=1e-5, atol=0)
        assert found.derivative == ["verified"] * 3
        assert ((found.radius - f.true_radius(x)).abs() <= found.radius_error + 1e-6).all()


@WRONG
def test_the_user_is_told_that_autograd_has_another_derivative():
    with pytest.warns(UserWarning, match="autograd's derivative of Narrow is not that of the map"):
        spectrum(Narrow(HIDDEN["detach"]).eval(), torch.rand(2, 10))


@WRONG
def test_one_wrong_row_among_right_ones_is_mended_alone():
    def f(x):
        return torch.where(x[:, :1] > 0.5, 1.5 * x.detach(), 0.5 * x)

    x = torch.tensor([[0.1, 0.3], [0.9, 0.3], [0.2, 0.7]], dtype=torch.float64)
    found = spectrum(f, x)
    torch.testing.assert_close(found.radius, torch.tensor([0.5, 1.5, 0.5], dtype=torch.float64), rtol=1e-6, atol=0)
    assert found.verdict == ["contracting", "expanding", "contracting"]


@WRONG
def test_the_quick_radii_and_the_bracket_use_the_derivative_of_the_map():
    f = Narrow(HIDDEN["detach"]).eval()
    x = torch.rand(3, 10)
    torch.testing.assert_close(compute_leading_eigenvalues(f, x).radius, f.true_radius(x), rtol=1e-6, atol=0)
    lower, upper = radius_bracket(f, x)
    assert (lower <= f.true_radius(x) + 1e-9).all()
    assert (upper >= f.true_radius(x) - 1e-9).all()
    assert (upper - lower < 0.1).all()


@WRONG
def test_a_map_too_wide_for_differences_has_no_radius_and_says_why():
    dim = LARGEST_BY_DIFFERENCES + 1
    f = Narrow(HIDDEN["numpy"], dim).eval()
    with pytest.warns(UserWarning, match="the radius is NaN, because differences need at most"):
        found = spectrum(f, torch.rand(1, dim))
    assert found.radius.isnan().all()
    assert found.verdict == ["undecided"]


def test_differences_can_be_asked_for():
    f = Narrow().eval()
    x = torch.rand(3, 10)
    found = spectrum(f, x, method="differences")
    assert found.method == "differences"
    assert ((found.radius - f.true_radius(x)).abs() <= found.radius_error).all()
    assert (found.radius_error < 1e-4).all()
    with pytest.raises(ValueError, match="needs at most 4096 dimensions"):
        spectrum(lambda x: x, torch.rand(1, 5000), method="differences")


@WRONG
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_the_scale_of_points_and_outputs_does_not_matter(scale):
    matrix = torch.tensor([[0.9, 0.3, 0.0], [0.0, -1.2, 0.1], [0.2, 0.0, 0.4]], dtype=torch.float64)
    radius = torch.linalg.eigvals(matrix).abs().max()

    def hidden(x):
        return (x @ matrix.T).detach()

    around = scale * torch.rand(3, 3, dtype=torch.float64)
    for x in (around, torch.cat([torch.zeros_like(around[:1]), around])):
        found = spectrum(hidden, x)
        torch.testing.assert_close(found.radius, radius.expand(len(x)), rtol=1e-6, atol=0)
        assert found.derivative == ["verified"] * len(x)
    larger = spectrum(lambda x: scale * torch.tanh(x @ matrix.T), torch.rand(3, 3, dtype=torch.float64))
    assert larger.derivative == ["verified"] * 3


@pytest.mark.parametrize("x", [torch.zeros(1, 4), torch.zeros(3, 4), torch.ones(4, 4), torch.ones(1, 1)])
def test_the_origin_duplicates_and_single_points_are_checked(x):
    found = spectrum(torch.sin, x.double())
    assert found.derivative == ["verified"] * len(x)
    torch.testing.assert_close(found.radius, x[:, 0].double().cos())


@pytest.mark.parametrize("far", [1e3, 1e6])
def test_data_far_from_the_origin_are_checked(far):
    matrix = torch.tensor([[0.3, 0.4], [-0.6, 0.2]], dtype=torch.float64)
    x = far + torch.rand(3, 2, dtype=torch.float64)
    found = spectrum(lambda x: far + torch.tanh((x - far) @ matrix.T), x)
    assert found.derivative == ["verified"] * 3


def test_a_superattractor_is_verified():
    x = torch.ones(1, 4, dtype=torch.float64)
    for f in (lambda x: 1 + 50 * (x - 1) ** 2, lambda x: 1 + 1e-9 * (x - 1)):
        found = spectrum(f, x)
        assert found.derivative == ["verified"]
        assert found.verdict == ["contracting"]


class Clamped(nn.Module):
    """A network whose input is brought to [0, 1] first, where images have many values at 0 and at 1."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x.clamp(0, 1))


def draw_images(count):
    images = torch.rand(count, 1, 8, 8)
    images[:, :, :3] = 0
    images[:, :, -2:] = 1
    return images


def build_bias_free():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1, bias=False)
    ).eval()


def test_kinks_under_the_data_are_no_contradiction():
    images = draw_images(4)
    smooth = nn.Sequential(nn.Flatten(), Narrow(dim=64), nn.Unflatten(1, (1, 8, 8))).eval()
    for f in (Clamped(smooth).eval(), build_bias_free()):
        found = spectrum(f, images, top=1, method="dense")
        assert found.derivative == ["one-sided"] * 4


@WRONG
def test_a_hidden_derivative_is_found_at_kinks_too():
    images = draw_images(2)
    plain = build_bias_free()
    expected = spectrum(plain, images, top=1, method="dense").radius
    wide = build_bias_free().double()
    found = spectrum(lambda x: wide(x).detach(), images.double(), top=1, method="dense")
    torch.testing.assert_close(found.radius, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("f", [lambda x: 2 * x.abs(), lambda x: 2 * x.relu(), lambda x: torch.maximum(2 * x, 0.1 * x)])
@pytest.mark.parametrize("dim", [1, 5])
def test_a_kink_from_which_the_map_leaves_is_not_contracting(f, dim):
    assert spectrum(f, torch.zeros(1, dim, dtype=torch.float64)).verdict != ["contracting"]


def test_a_kink_at_which_both_sides_contract_is_contracting():
    found = spectrum(lambda x: 0.5 * x.abs(), torch.zeros(1, 3, dtype=torch.float64))
    assert found.derivative == ["one-sided"]
    assert found.verdict == ["contracting"]


@pytest.mark.parametrize("dim", [1, 4])
def test_a_kink_at_which_the_map_contracts_is_not_expanding_because_of_the_gradient_at_a_tie(dim):
    def f(x):  # the two large terms cancel; at 0 autograd has the slope 0 for one and 1/2 for the other
        return 0.5 * x.relu() + 10 * x.relu() - 10 * torch.maximum(x, torch.zeros_like(x))

    found = spectrum(f, torch.zeros(1, dim, dtype=torch.float64))
    assert found.verdict == ["undecided"]


@pytest.mark.parametrize("error", [ValueError, RuntimeError, AssertionError])
def test_a_map_that_refuses_points_beside_its_data_is_not_verified_and_says_why(error):
    def f(x):
        if (x.abs() > 1).any():
            raise error("pixels are at most 1")
        return 0.5 * x

    with pytest.warns(UserWarning, match="cannot be evaluated beside the points .*pixels are at most 1"):
        found = spectrum(f, torch.ones(2, 3, dtype=torch.float64))
    assert found.derivative == ["unverified"] * 2
    assert found.verdict == ["undecided"] * 2


def test_a_slow_growth_beside_a_kink_of_another_coordinate_is_expanding():
    slopes = torch.full((200,), 0.999, dtype=torch.float64)
    slopes[0] = 1.02

    def f(x):
        y = slopes * x
        return torch.cat([y[:, :-1], 0.5 * y[:, -1:].relu()], 1)

    found = spectrum(f, torch.zeros(1, 200, dtype=torch.float64), top=1)
    assert found.derivative == ["one-sided"]
    assert found.verdict == ["expanding"]


@WRONG
def test_a_hidden_derivative_at_a_kink_from_which_the_map_leaves_is_replaced():
    def f(x):
        return 0 * x + torch.maximum(2 * x, 0.1 * x).detach()

    found = spectrum(f, torch.zeros(1, 2, dtype=torch.float64))
    assert found.radius.item() == pytest.approx(1.05)
    assert found.derivative == ["one-sided"]


@WRONG
def test_eigenvalues_that_one_of_two_ways_has_not_looked_for_are_unknown():
    def f(x):
        return torch.where(x[:, :1] > 0.5, 1.5 * x.detach(), 0.5 * x)

    x = torch.tensor([[0.1], [0.9]], dtype=torch.float64) * torch.linspace(1, 0.9, 12, dtype=torch.float64)
    found = spectrum(f, x, method="arnoldi")
    torch.testing.assert_close(found.eigenvalues[1].abs(), torch.full((12,), 1.5, dtype=torch.float64))
    assert found.eigenvalues[0, 1:].isnan().all()
    assert str(found).splitlines()[0] == ".5, [unknown]"


@WRONG
def test_all_eigenvalues_and_the_growth_are_those_of_the_derivative_of_the_map():
    def f(x):
        return torch.where(x[:, :1] > 0.5, 0.75 * x.detach(), 0.5 * x)

    x = torch.tensor([[0.1], [0.9]], dtype=torch.float64) * torch.linspace(1, 0.9, 300, dtype=torch.float64)
    found = spectrum(f, x, method="dense", transient=True)
    expected = torch.tensor([0.5, 0.75], dtype=torch.float64)
    torch.testing.assert_close(found.eigenvalues.abs(), expected[:, None].expand(2, 300))
    torch.testing.assert_close(found.transient_growth, expected)


@WRONG
def test_the_bracket_says_nothing_where_no_derivative_is_that_of_the_map(monkeypatch):
    monkeypatch.setattr(Jacobians, "list_alternatives", lambda _: iter(()))

    def f(x):
        return torch.where(x[:, :1] > 0.5, 1.5 * x.detach() + 0 * x, 0.5 * x)

    x = torch.tensor([[0.1, 0.3]] * 5 + [[0.9, 0.3]], dtype=torch.float64)
    lower, upper = radius_bracket(f, x)
    torch.testing.assert_close(lower[:5], upper[:5], rtol=1e-3, atol=0)
    assert (lower[5], upper[5]) == (0, math.inf)


class Codebook(nn.Module):
    """The nearest of two codes, with the identity for its gradient."""

    codes: torch.Tensor

    def __init__(self, straight_through=True):
        super().__init__()
        self.register_buffer("codes", torch.tensor([[2.0, 0.0, 1.0], [-1.0, -1.0, 0.0]]))
        self.straight_through = straight_through

    def forward(self, x):
        code = self.codes[(x[:, None] - self.codes).square().sum(2).argmin(1)]
        return x + (code - x).detach() if self.straight_through else code


@WRONG
@pytest.mark.parametrize("straight_through", [True, False])
def test_a_codebook_rests_around_its_codes(straight_through):
    f = Codebook(straight_through).eval()
    found = spectrum(f, f.codes + 0.1)
    assert found.radius.tolist() == [0, 0]
    assert found.derivative == ["resting"] * 2
    assert found.resting is not None
    assert found.resting.tolist() == [1, 1]
    assert found.verdict == ["undecided"] * 2
    certificates = certify(f, f.codes)
    assert certificates.attractor.all()
    assert certificates.radius.tolist() == [0, 0]


@WRONG
@pytest.mark.parametrize("levels", [4, 50, 255, 1e4])
@pytest.mark.parametrize("straight_through", [True, False])
def test_a_staircase_is_never_decided_by_its_flat_steps(levels, straight_through):
    class Staircase(nn.Module):
        def forward(self, x):
            stairs = (1.5 * x * levels).round() / levels
            return 1.5 * x + (stairs - 1.5 * x).detach() if straight_through else stairs

    found = spectrum(Staircase(), torch.rand(4, 30))
    assert "contracting" not in found.verdict


def test_saturated_outputs_leave_the_verdict_to_the_others():
    offset = torch.tensor([5.0, 0.5, 0.5, -5.0])
    found = spectrum(lambda x: (0.3 * x + offset.to(x.dtype)).clamp(0, 1), torch.rand(3, 4, dtype=torch.float64))
    assert found.resting is not None
    assert found.resting.tolist() == [0.5] * 3
    assert found.verdict == ["contracting"] * 3


def test_a_network_in_single_precision_is_checked_with_wider_room():
    network = Narrow().eval()
    x = torch.rand(3, 10)
    found = spectrum(lambda rows: network(rows), x)  # its constants cannot be cast
    assert found.derivative == ["verified"] * 3
    hidden = Narrow(HIDDEN["detach"]).eval()
    with pytest.warns(UserWarning, match="autograd's derivative"):
        found = spectrum(lambda rows: hidden(rows), x)
    torch.testing.assert_close(found.radius, hidden.true_radius(x), rtol=1e-3, atol=0)


def test_an_unverified_radius_has_no_bound_and_makes_no_attractor():
    def rough(x):  # kinks at every scale: the sum of Weierstrass at 0
        return torch.stack([0.6**k * (9.0**k * x).sin() for k in range(22)]).sum(0)

    found = spectrum(rough, torch.full((1, 2), 0.3, dtype=torch.float64))
    assert found.derivative == ["unverified"]
    assert found.radius_error.tolist() == [math.inf]
    assert found.verdict == ["undecided"]


def test_an_affine_map_is_checked_at_four_points_only(monkeypatch):
    checked = []
    check = DerivativeCheck.check

    def count(self, points, others, push, **options):
        checked.append(len(points))
        return check(self, points, others, push, **options)

    monkeypatch.setattr(DerivativeCheck, "check", count)
    matrix = torch.eye(6, dtype=torch.float64) / 2
    found = spectrum(lambda x: x @ matrix + 1, torch.rand(50, 6, dtype=torch.float64))
    assert checked == [4]
    assert found.verdict == ["contracting"] * 50


@pytest.mark.parametrize("fault", [1e-6, 1e-2])
def test_the_check_tells_a_wrong_product_from_a_right_one(fault):
    matrix = torch.randn(20, 20, dtype=torch.float64)
    points = torch.randn(5, 20, dtype=torch.float64)

    def push(v):
        return v @ (matrix + fault * torch.randn(20, 20, dtype=torch.float64)).T

    check = DerivativeCheck(lambda x: x @ matrix.T, lambda x: push, 2e-16, describe_surroundings(points))
    words = check.check(points, points.roll(1, 0), push).words
    assert words == ["verified" if fault < 1e-4 else "contradicted"] * 5


def test_points_beside_a_kink_stay_in_the_box_of_the_data():
    beside = []

    def form_push(points):
        beside.append(points)
        return lambda v: 0.5 * v * ((points >= 0) & (points <= 1))

    images = draw_images(3).double().flatten(1)
    check = DerivativeCheck(lambda x: 0.5 * x.clamp(0, 1), form_push, 2e-16, describe_surroundings(images))
    assert check.check(images, images.roll(1, 0), form_push(images)).words == ["one-sided"] * 3
    moved = torch.stack(beside[-2:])
    assert (moved >= 0).all()
    assert (moved <= 1).all()
    assert ((moved - images).abs() > 1e-5).all()
