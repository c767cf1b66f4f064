"""That memory is used up passes through everything that may otherwise fail."""

import pytest
import torch
from torch import nn

from memzoo._attempt import Attempt
from memzoo.dynamics import certify, find_attractors, radius_bracket, spectrum

CPU = "[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), MemoryError("no room"), RuntimeError(CPU)])
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

    def __init__(self, at):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.calls = [0]
        self.at = at

    def forward(self, x):
        CALLS[0] += 1
        if CALLS[0] == self.at:
            raise torch.OutOfMemoryError("no room")
        return self.layer(x).tanh()


CALLS = [0]


@pytest.mark.parametrize("measure", [spectrum, radius_bracket, certify, find_attractors])
def test_each_evaluation_may_run_out_of_memory(measure):
    x = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    CALLS[0] = 0
    measure(Hungry(0), x)
    total = CALLS[0]
    for at in {*range(1, min(total, 40)), total // 2, total}:
        CALLS[0] = 0
        with pytest.raises(torch.OutOfMemoryError, match="no room"):
            measure(Hungry(at), x)
