import json

import pytest
import torch
from draws import normal, uniform
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from memzoo.dynamics import spectrum
from memzoo.models.architectures.unet import UNet

SMALL = {"shape": (1, 16, 16), "filters": (2, 3, 4), "skip_side": 4}


def convolve(x, layer, stride=1):
    return nn.functional.conv2d(x, layer.weight, layer.bias, stride=stride, padding=1)


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
@pytest.mark.parametrize("activation", ["leaky_relu", "relu"])
def test_it_equals_its_definition(output, activation):
    model = UNet(**SMALL, output=output, activation=activation).double()
    slope = 0.01 if activation == "leaky_relu" else 0.0
    act = lambda y: torch.maximum(y, slope * y)  # noqa: E731
    double = lambda y: y.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
    down = model.net.down
    up = model.net.up
    x = normal(3, 1, 16, 16)
    at8 = act(convolve(x, down[0], 2))
    at4 = act(convolve(at8, down[1], 2))
    at2 = act(convolve(at4, down[2], 2))
    y = act(convolve(torch.cat([double(at2), at4], 1), up[0]))  # the only side at which the ways join
    y = act(convolve(double(y), up[1]))
    y = convolve(double(y), up[2])
    assert_close(model(x), y.sigmoid() if output == "sigmoid" else y)


@pytest.mark.parametrize(("skip_side", "joined"), [(0, []), (2, [2]), (8, [2, 4, 8]), (32, [2, 4, 8, 16])])
def test_skips_join_up_to_the_given_side_and_never_the_image(skip_side, joined):
    model = UNet(filters=(5, 6, 7, 8, 9), skip_side=skip_side)
    extra = [up.in_channels - before for up, before in zip(model.net.up, (9, 8, 7, 6, 5), strict=True)]
    expected = [width if side in joined else 0 for side, width in ((2, 8), (4, 7), (8, 6), (16, 5), (32, 0))]
    assert extra == expected


def test_default_starts_with_zero_biases_and_stays_in_range():
    model = UNet()
    assert all((p == 0).all() and p.requires_grad for name, p in model.named_parameters() if name.endswith("bias"))
    y = model(1e3 * torch.randn(2, 3, 32, 32))
    assert y.min() >= 0
    assert y.max() <= 1


@pytest.mark.parametrize("skip_side", [0, 4])
def test_spectrum_is_that_of_the_jacobian(skip_side):
    model = UNet(shape=(1, 8, 8), filters=(3, 2), skip_side=skip_side)
    x = torch.rand(1, 1, 8, 8)
    radius = spectrum(model.eval(), x).radius[0]
    wide = UNet(model.config).double()
    wide.load_state_dict(model.state_dict())
    jacobian = torch.func.jacrev(lambda flat: wide(flat.reshape(1, 1, 8, 8)).flatten())(x.double().flatten())
    assert_close(torch.linalg.eigvals(jacobian).abs().max(), radius)


def test_casts_and_round_trips():
    model = UNet(**SMALL).double()  # no submodule may take the name of a method of nn.Module
    assert model.net.up[0].weight.dtype == torch.float64
    twin = UNet(json.loads(model.config.model_dump_json())).double()
    twin.load_state_dict(model.state_dict())
    x = uniform(2, 1, 16, 16)
    assert torch.equal(twin(x), model(x))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match=r"it must be divisible by 32, got shape \(3, 48, 48\)"):
        UNet(shape=(3, 48, 48))
    with pytest.raises(ValidationError, match="square image 2 times"):
        UNet(shape=(1, 8, 4), filters=(2, 2))
    with pytest.raises(ValidationError, match="at least 1 item"):
        UNet(filters=())
    assert UNet(shape=(3, 48, 48), filters=(2, 2)).net.joined == [False, False]
