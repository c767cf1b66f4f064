import json

import pytest
import torch
from draws import normal
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from memzoo.dynamics import operator
from memzoo.models.architectures.d2 import D2

SMALL = {"shape": (1, 16, 16), "filters": 3, "layers": 5}


def test_29_convolutions_on_4x4_then_three_doublings():
    model = D2(filters=2)
    convolutions = [layer for layer in model.net if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 29
    x = torch.rand(1, 3, 32, 32)
    sides = []
    for layer in model.net:
        x = layer(x)
        sides += [x.shape[-1]] if isinstance(layer, nn.Conv2d) else []
    assert sides == [4] * 26 + [8, 16, 32]
    assert x.shape == (1, 3, 32, 32)
    assert all(layer.bias is None for layer in convolutions)


@pytest.mark.parametrize("activation", ["linear", "leaky_relu"])
def test_it_equals_its_definition(activation):
    model = D2(**SMALL, activation=activation, init="xavier_uniform").double()
    weights = [layer.weight for layer in model.net if isinstance(layer, nn.Conv2d)]
    x = y = normal(4, 1, 16, 16)
    for i, weight in enumerate(weights):
        if i >= 2:
            y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        y = nn.functional.conv2d(y, weight, stride=8 if i == 0 else 1, padding=1)
        y = torch.maximum(y, 0.01 * y) if activation == "leaky_relu" and i < 4 else y
    assert_close(model(x), y)


def test_the_linear_network_has_at_most_the_rank_of_its_narrow_part():
    model = D2(**SMALL, init="xavier_uniform")
    matrix = operator(model).matrix
    # the rank is at most the number of values at the narrowest place
    assert torch.linalg.matrix_rank(matrix) <= 3 * 2 * 2


def test_at_the_papers_value_the_gain_of_a_layer_is_about_one():
    weight = D2().net[3].weight
    assert weight.shape == (64, 64, 3, 3)
    found = weight.sum((1, 2, 3)).mean().item()
    # 64 channels of 3 x 3 weights with mean 1.8e-3
    assert found == pytest.approx(64 * 9 * 1.8e-3, rel=0.01)


def test_equal_parameters_stay_equal_and_noise_parts_them():
    x = torch.rand(1, 1, 16, 16)
    spread = {}
    for noise in (0.0, 0.1):
        model = D2(**SMALL, init={"scheme": "constant", "value": 0.05, "noise": noise})
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(5):
            optimizer.zero_grad()
            (model(x) - x).square().mean().backward()
            optimizer.step()
        spread[noise] = max(
            layer.weight.std(0).max().item()
            for layer in model.net
            if isinstance(layer, nn.Conv2d) and len(layer.weight) > 1
        )
    assert spread[0.0] < 1e-6
    assert spread[0.1] > 1e-3


def test_configurations_round_trip():
    model = D2(**SMALL)
    twin = D2(json.loads(model.config.model_dump_json()))
    twin.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(twin(x), model(x))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match=r"divides the side of a square image by 8, got shape \(1, 28, 28\)"):
        D2(shape=(1, 28, 28))
    with pytest.raises(ValidationError, match=r"by 8, got shape \(1, 16, 8\)"):
        D2(shape=(1, 16, 8))
    with pytest.raises(
        ValidationError, match="needs 6 layers after its doublings and at least one before them, got lay"
    ):
        D2(layers=6, stage=2)
