import pytest
import torch
from torch import nn

from memzoo.dynamics import certify, iterate, recovery_curve
from memzoo.dynamics.tracing import fast_convolution as module
from memzoo.dynamics.tracing.fast_convolution import agree, rearranged_in_dtype, rearranged_map
from memzoo.dynamics.tracing.precision import in_dtype


def convolutional(*extra):
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),
        nn.Tanh(),
        *extra,
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(6, 2, 3, padding=1),
    )
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.4)
    return net.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 7])
def test_the_same_map_up_to_rounding(dtype, rows):
    net = convolutional().to(dtype)
    x = torch.randn(rows, 2, 16, 16, dtype=dtype)
    fast = rearranged_map(net, x, steps=10_000)
    torch.testing.assert_close(fast(x), net(x))


def test_layers_that_hold_on_to_one_row_are_taken_row_by_row():
    class Reshaping(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = convolutional()

        def forward(self, x):
            return self.net(x.reshape(-1, 2, 16, 16)).flatten(1).reshape(len(x), 2, 16, 16)

    x = torch.randn(5, 2, 16, 16)
    net = Reshaping().eval()
    fast = rearranged_map(net, x, steps=10_000)
    torch.testing.assert_close(fast(x), net(x))


@pytest.mark.parametrize("f", [lambda x: x / 2, nn.Sequential(nn.Flatten(), nn.Linear(512, 512))])
def test_nothing_is_rearranged_without_convolutions(f):
    assert rearranged_map(f, torch.zeros(4, 2, 16, 16), steps=1000) is None
    assert rearranged_map(convolutional(), torch.zeros(4, 2, 16, 16), steps=1) is None  # does not pay


def test_an_arrangement_that_does_not_hold_where_the_orbit_ends_is_dropped(monkeypatch):
    net = convolutional()
    x, examples = torch.randn(3, 2, 16, 16), torch.zeros(1, 2, 16, 16)
    found, curve = iterate(net, x, 20), recovery_curve(net, x, examples, 20, eps=0.1)
    for user in ("orbit", "recovery"):
        monkeypatch.setattr(
            f"memzoo.dynamics.orbits.{user}.rearranged_map", lambda f, x, steps: lambda points: points / 2
        )
    assert torch.equal(iterate(net, x, 20).points, found.points)
    again = recovery_curve(net, x, examples, 20, eps=0.1)
    assert torch.equal(again.points, curve.points)
    assert torch.equal(again.rate, curve.rate)


def test_orbits_that_all_diverge_are_compared_too():
    class Exploding(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = convolutional()

        def forward(self, x):
            y = self.net(x)
            return y + 100 * x.view(x.size(0), -1).reshape(y.shape)  # refuses an empty batch

    x = torch.randn(3, 2, 16, 16)
    orbit = iterate(Exploding().eval(), x, 2000)
    assert orbit.diverged.all()
    assert not recovery_curve(Exploding().eval(), x, torch.zeros(1, 2, 16, 16), 2000, eps=0.1).rate[-1]


def test_maps_that_differ_do_not_agree():
    x = torch.randn(3, 2, 8, 8)
    assert agree(lambda x: x / 2, lambda x: 0.5 * x, x)
    assert not agree(lambda x: x / 2, lambda x: 0.501 * x, x)
    assert not agree(lambda x: x / 2, lambda x: x.flatten(1), x)
    assert not agree(lambda x: x / 2, lambda x: x / 0, x)


def test_certificates_do_not_depend_on_the_arrangement(monkeypatch):
    net = convolutional()
    with torch.no_grad():
        net[-1].weight *= 0.05
    x = iterate(net, torch.randn(2, 2, 16, 16), 200).points + 1e-3 * torch.randn(2, 2, 16, 16)
    ours = certify(net, x, eps=0.5)
    monkeypatch.setattr(module, "_convolves", lambda tensors: False)
    plain = certify(net, x, eps=0.5)
    assert torch.equal(ours.attractor, plain.attractor)
    torch.testing.assert_close(ours.points, plain.points)
    torch.testing.assert_close(ours.radius, plain.radius)


def test_shapes_of_one_row_in_a_trace_leave_the_rows_to_be_taken_one_by_one():
    class OneByOne(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = convolutional()

        def forward(self, x):
            return self.net(x).reshape(x.shape[0], 2, 256).reshape(x.shape)

    x, net = torch.randn(5, 2, 16, 16), OneByOne().eval()
    fast = rearranged_map(net, x, steps=10_000)
    torch.testing.assert_close(fast(x), net(x))


def test_a_module_that_has_changed_since_its_trace_is_not_rearranged():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.scale = convolutional(), 1.0

        def forward(self, x):
            return self.scale * self.net(x)

    x, net = torch.randn(5, 2, 16, 16), Scaled().eval()
    assert rearranged_map(net, x, steps=10_000) is not None
    net.scale = 2.0  # a plain number: the trace that was made does not know of it
    assert rearranged_map(net, x, steps=10_000) is None


def test_parameters_are_read_as_another_type_and_left_as_they_are():
    net, x = convolutional(), torch.randn(3, 2, 16, 16, dtype=torch.float64)
    fast = rearranged_in_dtype(net, x, torch.float64)
    assert fast(x).dtype == torch.float64
    torch.testing.assert_close(fast(x), in_dtype(net, torch.float64)(x), rtol=1e-12, atol=1e-12)
    assert net[0].weight.dtype == torch.float32
    assert rearranged_in_dtype(nn.Linear(16, 16), x, torch.float64) is None
