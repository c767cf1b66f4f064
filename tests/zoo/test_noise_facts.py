"""Shares of Gaussian inputs that arrive, of a map that halves every distance from its one image."""

import pytest
import torch
from stand_in import pull

from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.measures.measurements import Measurements

IMAGE = 0.25 * torch.arange(8.0).reshape(1, 2, 2, 2)


@pytest.fixture
def halving():
    return Measurements(pull(IMAGE, IMAGE))


@pytest.mark.parametrize("t", [1, 2])
@pytest.mark.parametrize("measure", ["noise_arrived", "matched_noise_arrived"])
def test_the_share_that_arrives_is_that_of_starts_within_a_doubled_radius(halving, measure, t):
    noise = torch.randn(400, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    # Pixels 0, 0.25, ..., 1.75 have the mean 0.875 and the variance 0.0625 * 6 (of eight numbers in a row).
    starts = noise if measure == "noise_arrived" else 0.875 + 0.375**0.5 * noise
    distance = (starts - IMAGE).flatten(1).norm(dim=1)
    eps = 0.9
    found = MEASURES[measure](halving, eps=eps, t=t, count=400, seed=3)
    assert found == pytest.approx((distance < eps * 2**t).double().mean().item())
    assert 0 < found < 1
