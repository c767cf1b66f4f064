"""Weights are put back into whatever a module has become since."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, weight_norm

from memzoo.callbacks.module_structure import ModuleStructure, copy_tensors, write_tensors


class Half(nn.Module):
    def forward(self, weight):
        return weight / 2

    def right_inverse(self, weight):
        return 2 * weight


def make_net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()


def prune_both(net):
    prune.l1_unstructured(net[0], "weight", amount=5)
    prune.random_structured(net[3], "weight", amount=1, dim=0)
    prune.custom_from_mask(net[3], "bias", torch.tensor([1.0, 0.0, 1.0]))


def prune_for_good(net):
    prune_both(net)
    prune.remove(net[0], "weight")


def compile_part(net):
    net[0] = torch.compile(net[0], backend="eager")


def rename(net):
    net.first = net[0]
    del net[0]


def quantize(net):
    torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, inplace=True)


def widen(net):
    net[0].weight.data = torch.ones(9, 3)


CHANGES = [
    lambda net: None,
    prune_both,
    prune_for_good,
    compile_part,
    rename,
    quantize,
    widen,
    lambda net: parametrizations.spectral_norm(net[0]),
    lambda net: parametrizations.weight_norm(net[3]),
    lambda net: weight_norm(net[0]),
    lambda net: parametrize.register_parametrization(net[0], "weight", Half()),
    lambda net: net[2].register_buffer("running_mean", None),
    lambda net: setattr(net[0], "weight", nn.Parameter(torch.zeros(4, 3))),
]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated", "ignore:torch.ao.quantization is deprecated")
@pytest.mark.filterwarnings("ignore:.*reduce_range", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("change", CHANGES)
def test_the_module_computes_again_what_it_computed(change):
    net = make_net()
    x = torch.randn(5, 3)
    before = net(x)
    keys = list(net.state_dict())
    structure = ModuleStructure(net)
    clean = copy_tensors(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1.0
    net[2].running_var.fill_(9.0)
    change(net)
    structure.restore()
    assert write_tensors(net, clean) == []
    assert torch.equal(net(x), before)
    assert list(net.state_dict()) == keys


def test_names_that_a_module_does_not_have_are_returned():
    clean = copy_tensors(make_net())
    other = nn.Sequential(nn.Linear(3, 4))
    assert write_tensors(other, clean)[:2] == ["2.weight", "2.bias"]
    assert torch.equal(other[0].weight, clean["0.weight"])


def test_names_of_compiled_parts_are_those_of_the_parts():
    net = make_net()
    clean = copy_tensors(net)
    compiled = copy.deepcopy(net)
    compile_part(compiled)
    nn.init.zeros_(compiled[0].weight)
    assert copy_tensors(compiled).keys() == clean.keys()
    assert write_tensors(compiled, {f"0._orig_mod.{name}": clean[f"0.{name}"] for name in ("weight", "bias")}) == []
    assert torch.equal(compiled[0].weight, net[0].weight)
