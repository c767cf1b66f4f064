"""The module behind what a loop calls."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from memzoo.errors import InvalidArgumentError, InvalidTypeError
from memzoo.modules import find_module


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 2)
        self.decoder = nn.Linear(2, 3)

    def reconstruct(self, x):
        return self.decoder(self.encoder(x))


def test_wrappers_are_taken_off_one_after_another():
    module = nn.Linear(2, 2)
    assert find_module(module) is module
    assert find_module(nn.DataParallel(torch.compile(nn.DataParallel(module)))) is module


def test_a_function_holds_the_outermost_modules_that_it_calls():
    pair = Pair()
    beside = nn.Linear(3, 3)
    for function, held in (
        (pair.reconstruct, [pair]),
        (lambda x: pair.decoder(pair.encoder(x)) + beside(x), [pair, beside]),
        (partial(Pair.reconstruct, pair), [pair]),
        (torch.tanh, []),
    ):
        found = find_module(function)
        assert set(found.called) == set(held)
        assert set(found.parameters()) == {parameter for module in held for parameter in module.parameters()}
        x = torch.rand(2, 3)
        assert torch.equal(found(x), function(x))


def test_modules_keep_their_modes():
    frozen = nn.Dropout().eval()
    trained = nn.Dropout()
    find_module(lambda x: trained(frozen(x)))
    assert (frozen.training, trained.training) == (False, True)


def test_what_cannot_be_evaluated_alone_is_refused():
    class Sharded(FullyShardedDataParallel):
        def __init__(self):
            nn.Module.__init__(self)

    with pytest.raises(InvalidArgumentError, match=r"Sequential are divided among processes .*memzoo.audit"):
        find_module(nn.Sequential(Sharded()))
    with pytest.raises(InvalidTypeError, match="got Tensor"):
        find_module(torch.rand(2))
