"""The arithmetic in which a map is measured."""

import pytest
import torch
from torch import nn

from memzoo.dynamics.tracing.precision import cast_map, collect_tensors, promote_to_float64


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.float().tanh().double(),  # the digits are lost inside, and the type does not show it
        lambda x: x.tanh().float(),
        lambda x: x @ (0.5 * torch.eye(3)),  # refuses float64
    ],
    ids=["inside", "outside", "constants"],
)
def test_a_map_that_loses_the_digits_is_measured_in_float32(f):
    x = torch.rand(2, 3, dtype=torch.float64)
    found, points = promote_to_float64(f, x)
    assert found is f
    assert points.dtype == torch.float32
    assert torch.equal(points, x.float())


@pytest.mark.parametrize(
    "f",
    [
        torch.tanh,
        torch.zeros_like,  # a constant map has no digits to lose
        lambda x: torch.full_like(x, torch.nan),  # shows nothing of its digits
        lambda x: torch.where(x < 0.5, x, torch.inf),
    ],
    ids=["smooth", "constant", "nan", "partly infinite"],
)
def test_a_map_that_keeps_the_digits_is_measured_in_float64(f):
    x = torch.linspace(0, 1, 6).reshape(2, 3)
    found, points = promote_to_float64(f, x)
    assert points.dtype == torch.float64
    assert found(points).dtype == torch.float64


def test_a_float32_module_is_read_in_float64_and_left_as_it_is():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    wide, x = promote_to_float64(model, torch.rand(4, 3))
    expected = nn.functional.batch_norm(
        nn.functional.linear(x, model[0].weight.double(), model[0].bias.double()),
        model[1].running_mean.double(),
        model[1].running_var.double(),
        model[1].weight.double(),
        model[1].bias.double(),
    )
    torch.testing.assert_close(wide(x), expected, rtol=1e-12, atol=1e-12)
    assert not wide(x).requires_grad
    found = {tensor.dtype for tensor in model.state_dict().values()}
    assert found == {torch.float32, torch.int64}


def test_digits_count_only_where_both_results_are_finite():
    # The first coordinate is NaN at numbers that float32 does not hold, the others lose their digits.
    def f(x):
        rounded = x.float().double()
        return torch.cat([torch.where(x == rounded, x, torch.nan)[:, :1], rounded[:, 1:].tanh()], 1)

    found, points = promote_to_float64(f, torch.rand(2, 3, dtype=torch.float64))
    assert found is f
    assert points.dtype == torch.float32


def test_a_module_with_tied_weights_is_read_in_float64():
    first = nn.Linear(3, 3)
    second = nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second)
    wide, x = promote_to_float64(model, torch.rand(2, 3))
    weight = first.weight.double()
    hidden = (x @ weight.T + first.bias.double()).tanh()
    assert x.dtype == torch.float64
    torch.testing.assert_close(wide(x), hidden @ weight.T + second.bias.double(), rtol=1e-12, atol=1e-12)


def test_gradients_reach_the_parameters():
    model = nn.Linear(2, 2)
    cast_map(model, torch.float64)(torch.ones(1, 2).double()).sum().backward()
    assert torch.equal(model.bias.grad, torch.ones(2))


def test_each_tensor_appears_once_under_the_name_of_its_first_module():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = self.two = nn.Linear(2, 2, bias=False)
            self.own = nn.Parameter(torch.ones(1))
            self.register_buffer("kept", torch.zeros(1))

    model = Tied()
    assert collect_tensors(model).keys() == {"one.weight", "own", "kept"}
    assert collect_tensors(model)["one.weight"] is model.two.weight
    assert collect_tensors(torch.tanh) == {}


def test_known_layers_are_read_in_float64_by_copies_that_share_what_the_module_shares():
    shared = nn.Linear(3, 3)
    tied = nn.Linear(3, 3, bias=False)
    tied.weight = shared.weight
    norm = nn.BatchNorm1d(3)
    norm.running_mean += 0.5
    model = nn.Sequential(shared, nn.Sequential(), nn.Tanh(), shared, norm, tied).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parts = list(model.modules())
    x = torch.rand(4, 3, dtype=torch.float64)
    wide = cast_map(model, torch.float64)
    found = wide(x)
    weight, bias = shared.weight.double(), shared.bias.double()
    y = torch.tanh(x @ weight.T + bias) @ weight.T + bias
    expected = ((y - 0.5) / (1 + norm.eps) ** 0.5) @ weight.T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    assert found.requires_grad  # a cast keeps the graph of the parameters
    assert all(now is then for now, then in zip(model.modules(), parts, strict=True))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert cast_map(model, torch.float32) is model
