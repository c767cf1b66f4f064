"""Evaluations in another type that start from one state and leave none behind."""

import copy

import pytest
import torch
from torch import nn

from memzoo.dynamics import spectrum
from memzoo.dynamics.tracing.attributes import Copies, isolate_attributes, list_holders
from memzoo.dynamics.tracing.precision import cast_map, promote_to_float64


class Keeper(nn.Module):
    """Keep all that modules keep: counters, running values, the last code, grids by size, a list of outputs."""

    def __init__(self, dim):
        super().__init__()
        self.layer = nn.Linear(dim, dim)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(dim))
        self.steps = torch.zeros(2000)
        self.running = torch.zeros(dim)
        self.grids = {}
        self.outputs = []
        self.nested = {"pair": (torch.zeros(1), [torch.ones(1)]), "kinds": {"a"}}

    def forward(self, x):
        self.calls += 1
        self.steps += 1
        self.nested["pair"][1][0].add_(1)
        self.nested["kinds"].add(x.dtype)
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        self.running = 0.9 * self.running + 0.1 * x.mean(0)
        size = x.shape[-1]
        if size not in self.grids:
            self.grids[size] = torch.linspace(0, 1, size, dtype=x.dtype)
        y = torch.tanh(self.layer(x + self.grids[size]))
        self.outputs.append(y)
        self.last = y
        return y


def describe(net):
    """Return all that a module holds, with the tensors as lists."""

    def plain(value):
        if isinstance(value, torch.Tensor):
            return (value.dtype, value.detach().tolist())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value)

    return plain({key: value for key, value in net.__dict__.items() if key != "_modules"})


@pytest.mark.parametrize("used", [False, True])
def test_an_evaluation_in_float64_leaves_no_trace(used):
    net = Keeper(3)
    x = torch.rand(4, 3)
    if used:
        net(x)
    before = describe(net)
    grids = net.grids
    outputs = net.outputs
    wide = cast_map(net, torch.float64)
    first = wide(x.double())
    assert torch.equal(wide(x.double()), first)
    assert first.dtype == torch.float64
    assert describe(net) == before
    assert net.grids is grids
    assert net.outputs is outputs
    grid = torch.linspace(0, 1, 3, dtype=torch.float32 if used else torch.float64).double()
    expected = torch.tanh((x.double() + grid) @ net.layer.weight.double().T + net.layer.bias.double())
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [3, 270])
def test_transforms_leave_no_tensors_of_their_own(dim, dtype):
    net = Keeper(dim).to(dtype)
    x = torch.rand(2, dim, dtype=dtype)
    wide, points = promote_to_float64(net, x)
    torch.func.vmap(torch.func.jacrev(lambda row: wide(row[None])[0]))(points[:, :3] if dim == 3 else points[:1])
    net(x).sum().backward()  # raises where a tensor of a transform is left
    assert net.last.dtype == dtype


def test_tensors_in_attributes_are_read_in_float64():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.randn(3, 3)
            self.weights = [torch.randn(40, 40)]

        def forward(self, x):
            return torch.tanh(x @ self.weight) @ self.weights[0][:3, :3]

    net = Plain()
    x = torch.rand(1, 3)
    slopes = 1 - torch.tanh(x.double() @ net.weight.double()) ** 2
    jacobian = net.weights[0][:3, :3].double().T @ (slopes[0][:, None] * net.weight.double().T)
    true = torch.linalg.eigvals(jacobian).abs().max()
    assert (spectrum(net, x).radius - true).abs() <= 1e-13
    assert net.weight.dtype == torch.float32
    net.weight = net.weight + 1.0  # nothing of the former tensor is kept for the next measurement
    slopes = 1 - torch.tanh(x.double() @ net.weight.double()) ** 2
    jacobian = net.weights[0][:3, :3].double().T @ (slopes[0][:, None] * net.weight.double().T)
    torch.testing.assert_close(spectrum(net, x).radius[0], torch.linalg.eigvals(jacobian).abs().max())


def test_a_large_tensor_is_copied_again_when_it_has_changed():
    copies = Copies(torch.float64)
    tensor = torch.zeros(3000)
    first = copies.copy(tensor)
    assert copies.copy(tensor) is first
    tensor += 1
    assert torch.equal(copies.copy(tensor), torch.ones(3000, dtype=torch.float64))
    copies.copy(tensor).add_(5)
    assert torch.equal(copies.copy(tensor), torch.ones(3000, dtype=torch.float64))


def test_an_error_inside_puts_everything_back():
    net = Keeper(2)
    before = describe(net)

    def change_and_fail():
        with isolate_attributes(list_holders(net), Copies(torch.float64)):
            net.outputs.append(1)
            net.extra = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert describe(net) == before


def test_a_container_that_holds_itself_is_no_endless_loop():
    net = Keeper(2)
    net.outputs.append(net.outputs)
    wide = cast_map(net, torch.float64)
    assert wide(torch.rand(1, 2, dtype=torch.float64)).shape == (1, 2)
    assert net.outputs[0] is net.outputs


def test_hooks_on_gradients_stay():
    net = nn.Linear(2, 2)
    net.register_full_backward_hook(lambda module, before, after: None)
    cast_map(net, torch.float64)(torch.rand(1, 2, dtype=torch.float64)).sum().backward()
    assert len(net._backward_hooks) == 1
    assert copy.deepcopy(net)._backward_hooks.keys() == net._backward_hooks.keys()
