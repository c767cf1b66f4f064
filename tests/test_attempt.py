"""That memory is used up passes through everything that may otherwise fail."""

import itertools

import pytest
import torch
from torch import nn

from memzoo._attempt import Attempt
from memzoo.dynamics import certify, find_attractors, radius_bracket, spectrum

CPU = "[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory"
ERRORS = [torch.OutOfMemoryError("no room"), MemoryError("no room"), RuntimeError(CPU)]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_of_memory_pass(error):
    with pytest.raises(type(error)), Attempt(Exception):
        raise error


def test_other_errors_are_suppressed():
    with Attempt(RuntimeError, ValueError):
        raise RuntimeError("a matrix is singular")
    with pytest.raises(KeyError), Attempt(RuntimeError):
        raise KeyError("a")


class Hungry(nn.Module):
    """A network that runs out of memory at one of its evaluations."""

    def __init__(self, at, error):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)
        self.calls = itertools.count(1)  # a list would be put back after each evaluation
        self.at = at
        self.error = error

    def forward(self, x):
        if next(self.calls) == self.at:
            raise self.error
        return self.layer(x).tanh()


@pytest.mark.parametrize("error", ERRORS, ids=["CUDA", "Python", "CPU"])
@pytest.mark.parametrize("measure", [spectrum, radius_bracket, certify, find_attractors])
def test_each_evaluation_may_run_out_of_memory(measure, error):
    x = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    whole = Hungry(0, error)
    measure(whole, x)
    total = next(whole.calls) - 1
    for at in {*range(1, min(total, 40)), total // 2, total}:
        with pytest.raises(type(error), match=r"no room|DefaultCPUAllocator"):
            measure(Hungry(at, error), x)
