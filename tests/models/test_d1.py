import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from memzoo.models import D1


def test_d1_halves_down_to_one_pixel_and_doubles_back():
    model = D1()
    narrowest = next(i for i, layer in enumerate(model.net) if isinstance(layer, nn.Upsample))
    encode = model.net[:narrowest]
    decode = model.net[narrowest:]
    x = torch.rand(2, 3, 32, 32)
    latent = encode(x)
    assert latent.shape == (2, 128, 1, 1)
    assert decode(latent).shape == x.shape
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.net) == 10


def test_linear_d1_is_linear():
    model = D1(shape=(1, 8, 8), filters=4)
    (x, y) = torch.rand(2, 1, 1, 8, 8)
    # f(a x + b y) = a f(x) + b f(y)
    expected = 2 * model(x) - 3 * model(y)
    assert_close(model(2 * x - 3 * y), expected)


def test_d1_equals_its_definition():
    model = D1(shape=(2, 4, 4), filters=3, activation="leaky_relu", bias=True)
    convolutions = [layer for layer in model.net if isinstance(layer, nn.Conv2d)]
    x = y = torch.rand(5, 2, 4, 4)
    for i, layer in enumerate(convolutions):
        if i >= 2:  # decoder: every pixel becomes four
            y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        y = nn.functional.conv2d(y, layer.weight, layer.bias, stride=2 if i < 2 else 1, padding=1)
        y = torch.maximum(y, 0.01 * y) if i < 3 else y
    assert_close(model(x), y)


def test_a_sigmoid_output_is_the_sigmoid_of_the_linear_one():
    config = {"shape": (2, 4, 4), "filters": 3, "activation": "leaky_relu", "bias": True}
    linear = D1(**config)
    bounded = D1(**config, output="sigmoid")
    bounded.load_state_dict(linear.state_dict())
    x = 100 * torch.randn(5, 2, 4, 4)
    assert_close(bounded(x), torch.sigmoid(linear(x)))


def test_the_configuration_names_an_output_that_is_not_linear():
    assert "output" not in D1().config.model_dump()  # as files of earlier versions
    written = D1(output="sigmoid").config.model_dump()
    assert D1(written).config.output == "sigmoid"


def test_d1_wants_powers_of_two():
    with pytest.raises(ValidationError, match=r"side must be a power of 2, got \(3, 28, 28\)"):
        D1(shape=(3, 28, 28))
