"""The self-map of a module, its adapter, and modules that have none."""

import pytest
import torch
from torch import nn

from memzoo.dynamics.tracing import Widened
from memzoo.errors import NotASelfMapError
from memzoo.modules.self_map import Adapted, find_self_map


def test_the_map_is_the_module_or_its_adapter_or_the_module_on_vectors():
    images = torch.rand(3, 1, 2, 2)
    identity = nn.Identity()
    f, same = find_self_map(identity, None, images)
    assert f is identity
    assert same is images
    linear = nn.Linear(4, 4)
    f, flat = find_self_map(linear, None, images)
    assert f is linear
    assert torch.equal(flat, images.flatten(1))
    f, same = find_self_map(linear, lambda module, x: module(x.flatten(1)).reshape(x.shape), images)
    assert isinstance(f, Adapted)
    assert same is images
    assert list(f.parameters()) == list(linear.parameters())
    expected = linear(images.flatten(1)).reshape(images.shape)
    torch.testing.assert_close(f(images), expected)


def test_the_error_for_no_self_map_names_forward_or_self_map():
    encoder = nn.Linear(4, 2)
    for adapter, what in ((None, "forward"), (lambda module, x: module(x), "self_map")):
        for x in (torch.rand(3, 4), torch.rand(3, 2, 2)):
            with pytest.raises(NotASelfMapError, match=rf"^{what} of Linear is no self-map .* Pass self_map=lambda"):
                find_self_map(encoder, adapter, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_the_precision_of_the_points(dtype):
    half = nn.Linear(3, 3).to(dtype)
    for wide in (torch.float32, torch.float64):
        x = torch.rand(2, 3, dtype=wide)
        f, _ = find_self_map(half, None, x)
        assert isinstance(f, Widened)
        expected = nn.functional.linear(x, half.weight.to(wide), half.bias.to(wide))
        torch.testing.assert_close(f(x), expected)
        assert f(x).dtype == wide
    assert half.weight.dtype == dtype
    assert not isinstance(find_self_map(nn.Linear(3, 3), None, torch.rand(2, 3))[0], Widened)
