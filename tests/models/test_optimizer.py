import math

import pytest
import torch
from torch import nn

from memzoo.models import FullyConnected


def test_muon_steps_along_every_direction_of_the_gradient_alike():
    torch.manual_seed(0)
    training = {"optimizer": "muon", "lr": 0.01}
    model = FullyConnected(shape=(1, 4, 4), depth=2, width=32, training=training)
    layers = [layer for layer in model.net if isinstance(layer, nn.Linear)]
    before = [layer.weight.detach().clone() for layer in layers]
    optimizer = model.configure_optimizers()["optimizer"]
    model.objective(torch.rand(64, 1, 4, 4))[1].backward()
    gradients = [torch.linalg.svd(layer.weight.grad).S for layer in layers]
    optimizer.step()
    for layer, old, gradient in zip(layers, before, gradients, strict=True):
        values = torch.linalg.svd(layer.weight.detach() - old).S / (0.2 * 0.01 * math.sqrt(32))  # Adam's scale
        assert gradient[0] > 20 * gradient[10]
        assert values[0] < 1.25  # five iterations of Newton and Schulz bring all but the smallest near 1
        assert values[10] > 0.7


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("betas", [(0.9, 0.9), (0.0, 0.5)])
def test_steps_of_adam_forget_as_the_betas_say(optimizer, betas):
    model = FullyConnected(shape=(3,), depth=1, training={"optimizer": optimizer, "lr": 0.1, "betas": betas})
    stepper = model.configure_optimizers()["optimizer"]
    (weight, bias) = model.parameters()
    bias.requires_grad_(False)
    # the equations of Kingma and Ba (2015), with gradients of our own choice
    mean = torch.zeros(3, 3, dtype=torch.float64)
    square = torch.zeros(3, 3, dtype=torch.float64)
    expected = weight.detach().double()
    for step in range(1, 6):
        gradient = torch.randn(3, 3)
        weight.grad = gradient.clone()
        stepper.step()
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient.double() ** 2
        unbiased_mean = mean / (1 - betas[0] ** step)
        unbiased_square = square / (1 - betas[1] ** step)
        expected = expected - 0.1 * unbiased_mean / (unbiased_square.sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_muon_takes_the_betas_of_its_adam():
    model = FullyConnected(shape=(3,), depth=1, training={"optimizer": "muon", "betas": (0.8, 0.9)})
    optimizer = model.configure_optimizers()["optimizer"]
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)
