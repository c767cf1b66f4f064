"""Denoisers at one level of noise: the best one of Gaussian data is known in closed form."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import memzoo
from memzoo.dynamics import spectrum
from memzoo.errors import InvalidArgumentError

SPREAD = 0.7
ALPHAS = torch.linspace(0.9999, 0.01, 500, dtype=torch.float64)
LEVELS = ((1 - ALPHAS) / ALPHAS).sqrt()


class Best(nn.Module):
    """What a network of each kind would learn of data N(0, SPREAD^2) in each coordinate."""

    def __init__(self, prediction):
        super().__init__()
        self.prediction = prediction

    def forward(self, noisy, time):
        low = time.long().clamp(max=len(LEVELS) - 2)
        part = time - low
        sigma = (LEVELS.log()[low] * (1 - part) + LEVELS.log()[low + 1] * part).exp().to(noisy)[:, None]
        alpha = 1 / (1 + sigma**2)
        image = noisy / alpha.sqrt() * SPREAD**2 / (SPREAD**2 + sigma**2)
        noise = (noisy - alpha.sqrt() * image) / (1 - alpha).sqrt()
        found = {"sample": image, "epsilon": noise, "v_prediction": alpha.sqrt() * noise - (1 - alpha).sqrt() * image}
        return SimpleNamespace(sample=found[self.prediction], loss=None)


def scheduler(prediction):
    return SimpleNamespace(alphas_cumprod=ALPHAS, config=SimpleNamespace(prediction_type=prediction))


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
@pytest.mark.parametrize("sigma", [0.1, 0.55, 3.0])
def test_the_denoiser_of_gaussian_data_shrinks_by_its_share_of_the_variance(prediction, sigma):
    denoise = memzoo.denoiser(Best(prediction).eval(), sigma, scheduler(prediction))
    x = torch.rand(3, 4)
    share = SPREAD**2 / (SPREAD**2 + sigma**2)
    torch.testing.assert_close(denoise(x), share * x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spectrum(denoise, x).radius, torch.full((3,), share).double(), rtol=1e-4, atol=0)


def test_a_network_of_the_level_itself_needs_no_scheduler():
    class Level(nn.Module):
        def forward(self, x, sigma):
            assert sigma.shape == (len(x),)
            return {"denoised": x / (1 + sigma[:, None] ** 2), "loss": x.sum()}

    torch.testing.assert_close(memzoo.denoiser(Level(), 0.5)(torch.ones(2, 3)), torch.full((2, 3), 0.8))


@pytest.mark.parametrize(
    ("sigma", "given", "message"),
    [
        (-0.1, None, "at least 0 and finite, got -0.1"),
        (float("nan"), None, "at least 0 and finite, got nan"),
        (100.0, scheduler("epsilon"), "levels of noise from 0.01 to 9.95, and sigma is 100"),
        (1.0, scheduler("flow"), "predicts 'flow', which must be one of epsilon, sample, v_prediction"),
    ],
)
def test_levels_and_predictions_that_are_unknown_are_refused(sigma, given, message):
    with pytest.raises(InvalidArgumentError, match=message):
        memzoo.denoiser(nn.Identity(), sigma, given)
