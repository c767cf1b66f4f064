import math

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
