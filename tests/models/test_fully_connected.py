from torch import nn

from memzoo.models import FullyConnected


def test_fully_connected_layers():
    model = FullyConnected(shape=(1, 28, 28), depth=14, width=128, bias=False, activation="gelu")
    layers = [layer for layer in model.net if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in layers] == [784, *[128] * 13]
    assert len([layer for layer in model.net if isinstance(layer, nn.GELU)]) == 13
    assert all(layer.bias is None for layer in layers)
    assert model.net[-2] is layers[-1]
