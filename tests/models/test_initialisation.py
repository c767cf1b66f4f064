import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from memzoo.models import Initialisation, initialise


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        # bounds and deviations by their definitions, for a layer with fan in 300 and fan out 200
        ("xavier_uniform", math.sqrt(6 / 500) / math.sqrt(3)),
        ("xavier_normal", math.sqrt(2 / 500)),
        ("kaiming_uniform", math.sqrt(2 / 300)),
        ("kaiming_normal", math.sqrt(2 / 300)),
        ("default", math.sqrt(1 / 300) / math.sqrt(3)),
    ],
)
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_schemes_have_their_deviation(scheme, expected, gain):
    layer = nn.Linear(300, 200)
    initialise(layer, Initialisation(scheme=scheme, gain=gain))
    gain = 1.0 if scheme == "default" else gain
    assert layer.weight.std().item() == pytest.approx(gain * expected, rel=0.02)
    assert (layer.bias == 0).all() == (scheme != "default")


def test_scaled_and_constant_schemes():
    torch.manual_seed(1)
    plain = nn.Conv2d(3, 4, 3)
    scaled = nn.Conv2d(3, 4, 3)
    scaled.load_state_dict(plain.state_dict())
    initialise(scaled, Initialisation(scheme="scaled", gain=0.25))
    assert_close(scaled.weight, 0.25 * plain.weight)
    initialise(plain, Initialisation(scheme="constant", value=1.8e-3))
    assert (plain.weight == 1.8e-3).all()
    assert (plain.bias == 1.8e-3).all()
    with pytest.raises(ValidationError, match="constant initialisation needs its value"):
        Initialisation(scheme="constant")
    with pytest.raises(ValidationError, match="value is only used by constant"):
        Initialisation(scheme="default", value=1.0)


def test_noise_on_constant_weights():
    layer = nn.Linear(300, 200)
    initialise(layer, Initialisation(scheme="constant", value=-0.02, noise=0.5))
    assert layer.weight.mean().item() == pytest.approx(-0.02, rel=0.02)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert (layer.bias == -0.02).all()
    state = torch.get_rng_state()
    initialise(layer, Initialisation(scheme="constant", value=0.3))
    assert (layer.weight == 0.3).all()
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValidationError, match="noise breaks the symmetry of constant weights; xavier_normal draws"):
        Initialisation(scheme="xavier_normal", noise=0.1)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Initialisation(scheme="constant", value=1.0, noise=-0.1)
