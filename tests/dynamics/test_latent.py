"""Orbits in the coordinates of what the last layers of a map can reach."""

import pytest
import torch
from torch import nn

from memzoo.dynamics import iterate, recovery_curve
from memzoo.dynamics.tracing.latent import latent_map, output_range
from memzoo.models import D1, FullyConnected

NETWORKS = {
    "perceptron": (lambda: FullyConnected(shape=(1, 6, 6), depth=4, width=9), (1, 6, 6)),
    "no bias": (lambda: FullyConnected(shape=(40,), depth=3, width=5, bias=False, activation="tanh"), (40,)),
    "convolution inside": (
        lambda: nn.Sequential(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Unflatten(1, (1, 4, 4))),
            nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.Unflatten(1, (1, 8, 8))),
        ),
        (1, 8, 8),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_orbit_in_latent_coordinates_is_the_orbit(name):
    build, shape = NETWORKS[name]
    model = build().double()
    x = torch.randn(7, *shape).double()
    latent = latent_map(model, x)
    y = latent.first(x)
    with torch.no_grad():
        for _ in range(5):
            x = model(x)
            torch.testing.assert_close(latent.lift(y), x)
            torch.testing.assert_close(latent.range.coordinates(x), y)
            assert latent.range.offset(x).max() < 1e-12
            y = latent.step(y)


def test_coordinates_keep_distances():
    model = FullyConnected(shape=(30,), depth=3, width=6)
    x = torch.randn(5, 30)
    latent = latent_map(model, x)
    y = latent.first(x).double()
    other = torch.randn(1, 30).double()
    expected = (latent.lift(y) - other).norm(dim=1)
    within = (y - latent.range.coordinates(other)).norm(dim=1)
    torch.testing.assert_close(torch.hypot(within, latent.range.offset(other)), expected)  # Pythagoras


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (FullyConnected(shape=(10,), depth=3, width=8), (10,)),  # too wide to pay
        (nn.Sequential(nn.Linear(20, 4), nn.ReLU(), nn.Linear(4, 20), nn.Sigmoid()), (20,)),  # ends in a nonlinearity
        (D1(shape=(1, 8, 8), filters=9), (1, 8, 8)),  # affine as a whole: nothing to iterate faster
    ],
)
def test_no_latent_map_where_it_does_not_pay_or_does_not_exist(model, shape):
    assert latent_map(model.eval(), torch.rand(2, *shape)) is None


def test_the_range_of_the_last_layer():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1), nn.Tanh(), nn.Linear(1, 3))
    with torch.no_grad():
        model[-1].weight.copy_(torch.tensor([[2.0], [0], [0]]))
        model[-1].bias.copy_(torch.tensor([5.0, 2, 0]))
    found = output_range(model, torch.rand(1, 3))
    expected = torch.tensor([0.0, 2, 0]).double()
    torch.testing.assert_close(found.centre, expected)
    offsets = found.offset(torch.tensor([[7.0, 2, 0], [7, 2, 1], [0, 5, 4]]))
    assert offsets.tolist() == pytest.approx([0, 1, 5], abs=1e-6)
    assert output_range(nn.Linear(3, 3), torch.rand(1, 3)) is None


class Shifted(nn.Module):
    """Its images fill a line through a point that the module keeps as a plain number."""

    def __init__(self, shift):
        super().__init__()
        self.inward = nn.Linear(4, 1)
        self.outward = nn.Linear(1, 4, bias=False)
        self.shift = shift

    def forward(self, x):
        return self.outward(self.inward(x).tanh()) + self.shift


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_range_is_that_of_the_module_as_it_is_now(scale):
    model = Shifted(0.0)
    x = torch.rand(3, 4)
    model.outward.weight.data *= scale
    assert output_range(model, x).centre.norm() < 1e-12 * scale
    model.shift = 5.0 * scale  # the earlier trace recorded 0
    with torch.no_grad():
        images = model(x)
        assert output_range(model, x).offset(images).max() < 1e-5 * scale
        curve = recovery_curve(model, x, images, steps=1, eps=0.1 * scale, offset=torch.nan)
    assert curve.reached.all()
    assert not curve.unrecoverable.any()


def test_a_start_that_leaves_the_number_range_at_once_stays_where_it_was():
    inner = nn.Sequential(nn.Linear(6, 2), nn.Tanh(), nn.Linear(2, 2, bias=False))
    model = nn.Sequential(*inner, nn.Linear(2, 6)).requires_grad_(False)
    model[0].weight.fill_(1.0)
    starts = torch.rand(3, 6)
    starts[1] = 3e38  # their sum is infinity
    starts[1, 0] = -torch.finfo(torch.float32).max
    orbit = iterate(lambda x: model(x) + 0 * x.sum(1, keepdim=True) * 2, starts, 5)
    latent = iterate(model, starts, 5, latent=True)
    assert orbit.diverged.tolist() == [False, True, False]
    assert torch.equal(orbit.points[1], starts[1])
    expected = orbit.points[[0, 2]]
    torch.testing.assert_close(latent.points[[0, 2]], expected)


def test_without_latent_coordinates_an_orbit_is_that_of_the_module_bit_for_bit():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1)).requires_grad_(False)
    starts = torch.rand(8, 1, 24, 24)
    expected = starts
    for _ in range(300):
        expected = model(expected)
    assert torch.equal(iterate(model, starts, 300, tol=0.0, latent=False).points, expected)


def test_no_range_of_weights_that_are_not_finite():
    model = nn.Sequential(nn.Linear(6, 2), nn.Tanh(), nn.Linear(2, 6)).requires_grad_(False)
    assert output_range(model, torch.rand(2, 6)) is not None
    model[2].weight[0, 0] = torch.inf
    assert output_range(model, torch.rand(2, 6)) is None


def test_no_range_of_a_last_layer_that_depends_on_the_point():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.inward = nn.Linear(6, 2)
            self.outward = nn.Linear(2, 6)
            self.other = nn.Linear(2, 6)

        def forward(self, x):
            codes = self.inward(x).tanh()
            rows = zip(x, codes, strict=True)
            return torch.stack([(self.outward if row[0] > 0 else self.other)(code) for row, code in rows])

    x = torch.rand(4, 6) * torch.tensor([1.0, -1, 1, -1])[:, None]
    model = Branching()
    assert output_range(model, x) is None
    assert latent_map(model, x) is None
