"""Modules and points in half precision."""

import copy
import warnings

import pytest
import torch
from torch import nn

from memzoo.dynamics import (
    basin_radius,
    capacity_curve,
    census,
    certify,
    find_attractors,
    iterate,
    latent_map,
    operator,
    radius_bracket,
    recall_against_noise,
    recovery_curve,
    spectrum,
)
from memzoo.dynamics.tracing import Widened, widen_module
from memzoo.errors import InvalidTypeError, NotASelfMapError

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
ENTRIES = {
    "spectrum": lambda f, x: spectrum(f, x).radius,
    "radius_bracket": lambda f, x: radius_bracket(f, x)[1],
    "operator": lambda f, x: operator(f.linear if hasattr(f, "linear") else f.module.linear, (8,)).matrix,
    "certify": lambda f, x: certify(f, x).radius,
    "basin_radius": lambda f, x: basin_radius(f, iterate(f, x, 500).points[:1], 0.1, directions=2).radius,
    "census": lambda f, x: census(f, x + 0.1, x, steps=50).label,
    "find_attractors": lambda f, x: find_attractors(f, x, steps=50).index,
    "iterate": lambda f, x: iterate(f, x, 20).points,
    "recovery_curve": lambda f, x: recovery_curve(f, x + 0.1, x, 20).points,
    "recall_against_noise": lambda f, x: recall_against_noise(f, x, [0.1], draws=2, steps=20).rate,
    "capacity_curve": lambda f, x: capacity_curve(lambda rows: f, x, [2, 4], level=0.1, steps=20).attractors,
    "latent_map": lambda f, x: latent_map(f, x).first(x),
}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 8)
        self.encoder, self.decoder = nn.Linear(8, 3), nn.Linear(3, 8)

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


def build(dtype):
    """Return a network in half precision, the same weights in float32, and points that half precision holds exactly."""
    half = Network().to(dtype).eval()
    return half, copy.deepcopy(half).float(), torch.rand(4, 8).to(dtype).float()


@HALF
@pytest.mark.parametrize("name", ENTRIES)
def test_a_module_in_half_precision_gives_the_numbers_of_the_same_weights_in_float32(name, dtype):
    half, wide, x = build(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found, expected = (ENTRIES[name](f, x) for f in (half, wide))
    torch.testing.assert_close(found.detach(), expected.detach(), equal_nan=True)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}


@HALF
@pytest.mark.parametrize("name", ["spectrum", "radius_bracket", "certify", "census", "find_attractors"])
def test_points_in_half_precision_are_the_same_points_in_float32(name, dtype):
    half, wide, x = build(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for f in (half, wide):
            found, expected = (ENTRIES[name](f, points) for points in (x.to(dtype), x))
            if name == "census":  # x + 0.1 is rounded
                assert found.shape == expected.shape
            else:
                torch.testing.assert_close(found.detach(), expected.detach(), equal_nan=True)


@HALF
def test_orbits_in_half_precision_run_in_half_precision(dtype):
    half, wide, x = build(dtype)
    expected = x.to(dtype)
    for _ in range(5):
        expected = half(expected)
    orbit = iterate(half, x.to(dtype), 5, tol=0.0)
    assert orbit.points.dtype == dtype
    assert torch.equal(orbit.points, expected)
    with pytest.raises(NotASelfMapError, match=rf"batch \(2, 8\) of {dtype}.*dtype"):
        iterate(wide, x.to(dtype))


@HALF
def test_a_residual_may_exceed_the_range_of_half_precision(dtype):
    orbit = iterate(lambda x: -x, torch.full((1, 4), 4e4, dtype=dtype), 2)
    start = torch.full((1,), 4e4, dtype=dtype).double().item()
    assert orbit.residual.item() == pytest.approx(2 * start * 2)


@HALF
def test_gradients_of_a_bracket_reach_parameters_in_half_precision(dtype):
    half, _, x = build(dtype)
    radius_bracket(half, x)[1].sum().backward()
    assert half.encoder.weight.grad.dtype == dtype
    assert half.encoder.weight.grad.abs().max() > 0


@HALF
def test_halves_that_a_module_names_are_widened_too(dtype):
    class Named(Network):
        def cut(self):
            return nn.Sequential(self.encoder, nn.Tanh()), self.decoder

        def forward(self, x):
            code = self.encoder(x)
            if float(code.sum()) > 1e9:  # not to be traced
                return x
            return self.decoder(torch.tanh(code))

    torch.manual_seed(0)
    half = Named().to(dtype)
    x = torch.rand(2, 8)
    found = spectrum(half, x, method="cut")
    assert found.method == "cut"
    torch.testing.assert_close(found.radius, spectrum(copy.deepcopy(half).float(), x, method="dense").radius)


def test_only_half_precision_is_widened():
    net = nn.Linear(2, 2)
    assert widen_module(net) is net
    assert widen_module(torch.tanh) is torch.tanh
    widened = widen_module(net.half())
    assert isinstance(widened, Widened)
    assert widen_module(widened) is widened
    assert widened.training == net.training


def contraction(slope, centre):
    return lambda x: centre + slope * (x - centre)


@HALF
@pytest.mark.parametrize(("slope", "kept"), [(0.0, True), (0.25, True), (-0.25, True), (0.75, False), (0.999, False)])
def test_an_attractor_in_half_precision_draws_back_the_next_numbers(slope, kept, dtype):
    # One unit in the last place from 5, a step of more than half of it is rounded away.
    f = contraction(slope, 5.0)
    point = torch.tensor([[5.0]], dtype=dtype)
    beside = point + 4 * torch.finfo(dtype).eps
    end = beside
    for _ in range(200):
        end = f(end)
    assert bool(end == point) == kept
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert certify(f, point, eps=0.5).attractor.tolist() == [kept]
    texts = " ".join(str(one.message) for one in said)
    assert "measured as it computes in float32" in texts
    assert ("attractors are none in" in texts) != kept
    assert certify(f, point.float(), eps=0.5).attractor.tolist() == [True]


class Computed(nn.Module):
    """A module without parameters, which computes in the type of its input or in float32."""

    def __init__(self, slope, wide):
        super().__init__()
        self.slope = slope
        self.wide = wide

    def forward(self, x):
        return 5.0 + self.slope * ((x.float() if self.wide else x) - 5.0)


@HALF
@pytest.mark.parametrize(("slope", "wide", "kept"), [(0.25, False, True), (0.999, False, False), (0.999, True, True)])
@pytest.mark.filterwarnings("ignore:.*attractors are none in")
def test_a_module_without_parameters_is_followed_in_half_precision_if_it_computes_in_it(slope, wide, kept, dtype):
    point = torch.tensor([[5.0]], dtype=dtype)
    assert certify(Computed(slope, wide), point, eps=0.5).attractor.tolist() == [kept]


@HALF
def test_a_function_that_computes_in_half_precision_alone_is_refused_where_a_verdict_is_asked_for(dtype):
    weight = torch.eye(3, dtype=dtype) / 2
    x = torch.rand(2, 3).to(dtype)
    for call in (spectrum, radius_bracket, certify, find_attractors):
        with pytest.raises(InvalidTypeError, match=rf"are {dtype}, in which no verdict.*cannot compute in float32"):
            call(lambda points: points @ weight, x)
        with pytest.raises(InvalidTypeError, match=r"f returns .*pass .*\.float\(\)"):
            call(lambda points: points.to(dtype) / 2, x)
    assert iterate(lambda points: points @ weight, x, 3).points.dtype == dtype


@HALF
@pytest.mark.filterwarnings("ignore:eps = .* is near the resolution")
def test_examples_keep_their_values_beside_starts_in_half_precision(dtype):
    start = torch.tensor([[1.0]], dtype=dtype)
    for gap in (0.3, 0.6):
        example = torch.tensor([[1.0 + gap * torch.finfo(dtype).eps]], dtype=torch.float64)
        for eps in (0.9, 1.1):
            radius = eps * gap * torch.finfo(dtype).eps
            curve = recovery_curve(lambda x: x, start, example, 1, eps=radius, offset=float("nan"))
            assert curve.rate.tolist() == [float(eps > 1)] * 2
