"""The field of the map from code to code, its attractors and their memorization coefficients."""

import math

import pytest
import torch
from torch import Tensor, nn

from memzoo.dynamics import certify, latent_field
from memzoo.errors import InvalidArgumentError, NonFiniteError, NotASelfMapError

CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
"""Attractors of tanh(3 z) / tanh(3), and one more at the fourth corner."""
LIFT = torch.linalg.qr(torch.randn(5, 2, generator=torch.Generator().manual_seed(0))).Q


def encode(x: Tensor) -> Tensor:
    return torch.tanh(3 * x @ LIFT.to(x)) / math.tanh(3)


def decode(z: Tensor) -> Tensor:
    return z @ LIFT.T.to(z)


def test_the_field_is_what_one_step_changes():
    z = torch.randn(4, 2)
    found = latent_field(encode, decode, z, steps=0)
    torch.testing.assert_close(found.field, torch.tanh(3 * z) / math.tanh(3) - z)
    assert found.census is None
    assert found.memorization.isnan()
    assert not found.attracting.any()


def test_attractors_are_compared_with_the_closest_image():
    z = torch.tensor([[0.9, 1.2], [0.3, -2.0], [0.4, -0.1], [0.0, 0.0], [-0.3, 0.5]])
    images = decode(CORNERS) * torch.tensor([[2.0], [0.5], [1.0]])  # a cosine knows no lengths
    found = latent_field(encode, decode, z, images)
    assert found.closest[:3].tolist() == [0, 1, 1]
    torch.testing.assert_close(found.closeness[:3], torch.ones(3, dtype=torch.float64))
    # The origin is an unstable fixed point, whose image is zero; the fourth corner is orthogonal to its neighbours.
    assert found.fixed.all()
    assert found.attracting.tolist() == [True, True, True, False, True]
    torch.testing.assert_close(found.closeness[3:], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.memorization, torch.tensor(0.6, dtype=torch.float64))
    assert found.distinct.tolist() == [0, 1, 3, 4]
    assert found.distinct_share == 0.8
    assert "4 distinct" in str(found)
    assert found.census is not None
    assert found.census.label.tolist() == [0, 1, 1, -1, -1]


def test_left_out_images_are_those_of_the_codes():
    codes = torch.tensor([[0.6, 0.6], [0.6, -0.5]])
    found = latent_field(encode, decode, codes)
    expected = [1.0, 1.1 / (2**0.5 * math.hypot(0.6, 0.5))]
    torch.testing.assert_close(found.closeness, torch.tensor(expected, dtype=torch.float64))


def test_a_linear_pair_has_fixed_points_that_do_not_attract():
    projection = LIFT[:2]
    inverse = torch.linalg.inv(projection)
    found = latent_field(lambda x: x @ inverse.to(x), lambda z: z @ projection.to(z), torch.randn(3, 2))
    assert found.fixed.all()
    assert not found.attracting.any()
    torch.testing.assert_close(found.closeness, torch.ones(3, dtype=torch.float64))


def test_orbits_that_end_nowhere_have_no_coefficient():
    found = latent_field(lambda x: 3 * x, lambda z: z, torch.eye(3)[:2])
    assert not found.fixed.any()
    assert found.closeness.isnan().all()
    assert found.memorization.isnan()
    assert len(found.distinct) == 0


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 3), nn.Tanh())
        self.decoder = nn.Linear(3, 6)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


def test_modules_and_their_methods_are_the_same_and_unchanged():
    model = Pair().eval()
    model.decoder.train()  # a mode of its own, which is harmless here
    z = torch.randn(3, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = latent_field(model.encoder, model.decoder, z)
    second = latent_field(model.encode, model.decode, z)
    torch.testing.assert_close(first.closeness, second.closeness, rtol=0, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.decoder.training
    assert not model.encoder.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_spectra_are_those_of_the_autoencoder():
    torch.manual_seed(3)
    model = Pair().eval()
    fixed = latent_field(model.encoder, model.decoder, torch.randn(1, 3))
    assert fixed.census is not None
    assert fixed.decoded is not None
    certificates = certify(nn.Sequential(model.encoder, model.decoder), fixed.decoded, eps=1.0)
    assert fixed.census.limits[0].radius == pytest.approx(certificates.radius.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("encoder", "decoder", "z", "error", "match"),
    [
        (nn.Linear(5, 3), nn.Linear(2, 5), torch.ones(1, 2), NotASelfMapError, "must have the shape of z"),
        (lambda x: (x, x), nn.Identity(), torch.ones(1, 2), InvalidArgumentError, "encoder must return a tensor"),
        (nn.Identity(), nn.Linear(3, 3), torch.ones(1, 2), InvalidArgumentError, "decoder cannot be evaluated"),
        (nn.Dropout(0.5), nn.Identity(), torch.ones(2, 2), InvalidArgumentError, "training mode"),
        (lambda x: x + torch.rand_like(x), nn.Identity(), torch.ones(2, 2), NotASelfMapError, "two answers"),
        (nn.Identity(), lambda z: z - z.mean(0), torch.randn(2, 2), NotASelfMapError, "rows of a batch interact"),
        (nn.Identity(), lambda z: z / (z - 1), torch.tensor([[2.0], [1.0]]), NonFiniteError, "at row 1"),
    ],
)
def test_what_is_no_pair_is_refused(encoder, decoder, z, error, match):
    with pytest.raises(error, match=match):
        latent_field(encoder, decoder, z)


def test_images_of_another_shape_are_refused():
    with pytest.raises(InvalidArgumentError, match="images and decoded codes"):
        latent_field(encode, decode, torch.ones(1, 2), torch.ones(1, 4))
