"""The same map with faster convolutions: equal up to rounding, and left out where it is not."""

import pytest
import torch
from torch import nn

from memzoo.dynamics import certify, iterate, recovery_curve
from memzoo.dynamics.tracing import fast_convolution
from memzoo.dynamics.tracing.fast_convolution import (
    accelerate_convolutions,
    accelerate_convolutions_in_dtype,
    outputs_agree,
)
from memzoo.dynamics.tracing.precision import cast_map


def build_network():
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(6, 2, 3, padding=1),
    )
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.4)
    return net.eval()


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build_network()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 7])
def test_the_fast_map_is_the_map_up_to_rounding(dtype, rows):
    net = build_network().to(dtype)
    x = torch.randn(rows, 2, 16, 16, dtype=dtype)
    fast = accelerate_convolutions(net, x, steps=10_000)
    torch.testing.assert_close(fast(x), net(x))


def test_a_network_that_reshapes_its_batch_is_accelerated():
    class Reshaping(Wrapped):
        def forward(self, x):
            return self.net(x.reshape(-1, 2, 16, 16)).flatten(1).reshape(len(x), 2, 16, 16)

    x = torch.randn(5, 2, 16, 16)
    net = Reshaping().eval()
    fast = accelerate_convolutions(net, x, steps=10_000)
    torch.testing.assert_close(fast(x), net(x))


@pytest.mark.parametrize("f", [lambda x: x / 2, nn.Sequential(nn.Flatten(), nn.Linear(512, 512))])
def test_nothing_is_accelerated_without_convolutions_or_for_a_single_step(f):
    assert accelerate_convolutions(f, torch.zeros(4, 2, 16, 16), steps=1000) is None
    assert accelerate_convolutions(build_network(), torch.zeros(4, 2, 16, 16), steps=1) is None  # does not pay


def test_a_fast_map_that_is_wrong_where_the_orbit_ends_is_not_used(monkeypatch):
    net = build_network()
    x = torch.randn(3, 2, 16, 16)
    examples = torch.zeros(1, 2, 16, 16)
    found = iterate(net, x, 20)
    curve = recovery_curve(net, x, examples, 20, eps=0.1)
    name = "memzoo.dynamics.orbits.orbit.accelerate_convolutions"
    monkeypatch.setattr(name, lambda f, x, steps: lambda points: points / 2)
    assert torch.equal(iterate(net, x, 20).points, found.points)
    again = recovery_curve(net, x, examples, 20, eps=0.1)
    assert torch.equal(again.points, curve.points)
    assert torch.equal(again.rate, curve.rate)


def test_orbits_that_all_diverge_are_compared_too():
    class Exploding(Wrapped):
        def forward(self, x):
            y = self.net(x)
            return y + 100 * x.view(x.size(0), -1).reshape(y.shape)  # refuses an empty batch

    x = torch.randn(3, 2, 16, 16)
    orbit = iterate(Exploding().eval(), x, 2000)
    assert orbit.diverged.all()
    examples = torch.zeros(1, 2, 16, 16)
    curve = recovery_curve(Exploding().eval(), x, examples, 2000, eps=0.1)
    assert not curve.rate[-1]


def test_maps_that_differ_do_not_agree():
    x = torch.randn(3, 2, 8, 8)
    assert outputs_agree(lambda x: x / 2, lambda x: 0.5 * x, x)
    # 0.2 % are far beyond rounding
    assert not outputs_agree(lambda x: x / 2, lambda x: 0.501 * x, x)
    assert not outputs_agree(lambda x: x / 2, lambda x: x.flatten(1), x)
    assert not outputs_agree(lambda x: x / 2, lambda x: x / 0, x)


def test_certificates_do_not_depend_on_the_fast_convolutions(monkeypatch):
    net = build_network()
    with torch.no_grad():
        net[-1].weight *= 0.05
    limits = iterate(net, torch.randn(2, 2, 16, 16), 200).points
    x = limits + 1e-3 * torch.randn(2, 2, 16, 16)
    ours = certify(net, x, eps=0.5)
    monkeypatch.setattr(fast_convolution, "_has_filters", lambda f, x: False)
    plain = certify(net, x, eps=0.5)
    assert torch.equal(ours.attractor, plain.attractor)
    torch.testing.assert_close(ours.points, plain.points)
    torch.testing.assert_close(ours.radius, plain.radius)


def test_a_trace_that_holds_the_shape_of_one_row_is_executed_row_by_row():
    class OneByOne(Wrapped):
        def forward(self, x):
            return self.net(x).reshape(x.shape[0], 2, 256).reshape(x.shape)

    x = torch.randn(5, 2, 16, 16)
    net = OneByOne().eval()
    fast = accelerate_convolutions(net, x, steps=10_000)
    torch.testing.assert_close(fast(x), net(x))


def test_a_module_that_has_changed_since_its_trace_is_not_accelerated():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = build_network()
            self.scale = 1.0

        def forward(self, x):
            return self.scale * self.net(x)

    x = torch.randn(5, 2, 16, 16)
    net = Scaled().eval()
    assert accelerate_convolutions(net, x, steps=10_000) is not None
    net.scale = 2.0  # a plain number, which the earlier trace recorded as 1
    assert accelerate_convolutions(net, x, steps=10_000) is None


def test_parameters_are_read_as_another_type_and_left_as_they_are():
    net = build_network()
    x = torch.randn(3, 2, 16, 16, dtype=torch.float64)
    fast = accelerate_convolutions_in_dtype(net, x, torch.float64)
    assert fast(x).dtype == torch.float64
    expected = cast_map(net, torch.float64)(x)
    torch.testing.assert_close(fast(x), expected, rtol=1e-12, atol=1e-12)
    assert net[0].weight.dtype == torch.float32
    assert accelerate_convolutions_in_dtype(nn.Linear(16, 16), x, torch.float64) is None
