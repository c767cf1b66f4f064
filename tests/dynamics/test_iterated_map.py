"""The composition of a map with itself."""

import pytest
import torch
from torch import nn

from memzoo.dynamics.orbits.iterated_map import compose_with_itself
from memzoo.dynamics.tracing import read_declared_cut


@pytest.mark.parametrize("times", [1, 2, 5])
def test_an_affine_map_follows_its_closed_form(times):
    # x -> a x + b, p times: a^p x + b (a^p - 1) / (a - 1)
    a = 0.5
    b = 3.0
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, a)
    nn.init.constant_(layer.bias, b)
    x = torch.tensor([[1.0], [-2.0]])
    expected = a**times * x + b * (a**times - 1) / (a - 1)
    composed = compose_with_itself(layer, times)
    assert isinstance(composed, nn.Module)
    torch.testing.assert_close(composed(x), expected)
    torch.testing.assert_close(compose_with_itself(lambda x: a * x + b, times)(x), expected)


def test_a_module_applied_once_still_names_its_narrowest_place():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(4, 2)
            self.decode = nn.Linear(2, 4)

        def forward(self, x):
            return self.decode(self.encode(x))

        def cut(self):
            return self.encode, self.decode

    model = Halves()
    assert read_declared_cut(compose_with_itself(model, 1)) == (model.encode, model.decode)
    assert read_declared_cut(compose_with_itself(model, 2)) is None  # twice, the halves are no longer those of the map
