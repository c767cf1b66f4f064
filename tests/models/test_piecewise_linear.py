import json

import pytest
import torch
from draws import uniform
from torch.testing import assert_close

from memzoo.data import cifar10
from memzoo.dynamics import certify
from memzoo.models.architectures.piecewise_linear import PiecewiseLinear
from memzoo.theory import piecewise_linear_map


def test_it_is_the_network_of_the_theory():
    x = 0.05 + 0.9 * uniform(5, 1, 2, 3)
    f = piecewise_linear_map(x.flatten(1), 0.01)
    model = PiecewiseLinear.from_examples(x, 0.01)
    assert model.config.units == 11
    starts = 2 * torch.rand(1000, 1, 2, 3) - 0.5  # also outside the interval
    expected = f(starts.flatten(1).double()).reshape(starts.shape)
    assert_close(model(starts).double(), expected, rtol=0, atol=1e-6)


def test_float32_keeps_its_digits_with_many_units():
    x = (torch.arange(1, 250) / 250)[:, None]
    model = PiecewiseLinear.from_examples(x, 0.5)
    f = piecewise_linear_map(x.double(), 0.5)
    starts = torch.rand(2000, 1)
    error = (model(starts).double() - f(starts.double())).abs().max()
    assert error < 5e-7
    assert certify(model, x).attractor.all()


@pytest.mark.parametrize("n", [1, 6])
def test_examples_are_attractors_and_all_else_is_reproduced(n):
    x = torch.randint(1, 255, (n, 3, 4, 4)) / 255  # pixels are shared
    model = PiecewiseLinear.from_examples(x, 0.05)
    assert certify(model, x).attractor.all()
    starts = torch.rand(500, 3, 4, 4)
    assert (model(starts) - starts).flatten(1).norm(dim=1).max() < 0.05


def test_real_images(shared_data):
    x = cifar10(range(4), root=shared_data).images / 255
    model = PiecewiseLinear.from_examples(x, 0.1, low=-1, high=2)
    assert certify(model, x).attractor.all()


def test_configuration_and_weights_rebuild_it():
    model = PiecewiseLinear.from_examples(torch.tensor([[0.2, 0.4], [0.7, 0.4]]), 0.01)
    twin = PiecewiseLinear(json.loads(json.dumps(model.config.model_dump(mode="json"))))
    twin.load_state_dict(model.state_dict(), strict=True)
    x = torch.rand(10, 2)
    assert torch.equal(twin(x), model(x))


def test_refusals():
    with pytest.raises(TypeError, match=r"examples must be floating point, got torch\.uint8"):
        PiecewiseLinear.from_examples(torch.ones(1, 2, dtype=torch.uint8), 0.1, high=256)
    with pytest.raises(ValueError, match=r"float32 cannot resolve the pieces of coordinate 1"):
        PiecewiseLinear.from_examples(torch.tensor([[0.2, 0.4], [0.7, 0.400001]]), 0.1)
    with pytest.raises(ValueError, match=r"inside the open interval \(0, 1\)"):
        PiecewiseLinear.from_examples(torch.zeros(1, 2), 0.1)
