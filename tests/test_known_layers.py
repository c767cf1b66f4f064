"""Layers that no evaluation changes are told from those that somebody may have changed."""

import pytest
import torch
from torch import nn

from memzoo._known_layers import is_unchanging
from memzoo.models import Ensemble, FullyConnected


class OwnLinear(nn.Linear):
    """A layer of somebody else, whatever it inherits."""


def change(layer, name, value):
    """Set an attribute of a layer of torch."""
    setattr(layer, name, value)
    return layer


def hook(layer, register):
    """Register a hook that does nothing."""
    getattr(layer, register)(lambda *_: None)
    return layer


UNCHANGING = {
    "layers": lambda: nn.Sequential(nn.Linear(6, 6), nn.Sequential(), nn.GELU(), nn.LayerNorm(6), nn.Dropout(0.5)),
    "convolution": lambda: nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
    "statistics that rest": lambda: nn.BatchNorm1d(6).eval(),
    "attention": lambda: nn.MultiheadAttention(6, 2),
    "own": lambda: FullyConnected(shape=(6,), width=4, depth=3),
    "ensemble": lambda: Ensemble(member={"shape": (1, 3, 3), "layers": 3}, members=2).eval(),
}
CHANGING = {
    "statistics": lambda: nn.BatchNorm1d(6),
    "own class": lambda: nn.Sequential(nn.Linear(6, 6), OwnLinear(6, 6)),
    "own forward": lambda: nn.Sequential(change(nn.Linear(6, 6), "forward", lambda x: x)),
    "own tensor": lambda: change(nn.Linear(6, 6), "scale", torch.ones(6)),
    "own table": lambda: change(nn.Linear(6, 6), "seen", [{}]),
    "function in our own": lambda: change(FullyConnected(shape=(6,), width=4, depth=3), "check_shape", lambda x: x),
    "module in our own": lambda: change(FullyConnected(shape=(6,), width=4, depth=3), "others", (OwnLinear(6, 6),)),
    "weights in place": lambda: nn.Embedding(6, 6, max_norm=1.0),
    "weights in a list": lambda: nn.LSTM(6, 6),
    "forward hook": lambda: nn.Sequential(hook(nn.Linear(6, 6), "register_forward_hook")),
    "early hook": lambda: hook(nn.Linear(6, 6), "register_forward_pre_hook"),
    "gradient hook": lambda: hook(nn.Linear(6, 6), "register_full_backward_hook"),
    "parametrised": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
    "complex": lambda: nn.Linear(6, 6, dtype=torch.complex64),
    "lazy": lambda: nn.LazyLinear(6),
    "traced": lambda: torch.jit.trace(nn.Linear(6, 6), torch.ones(2, 6)),
    "compiled": lambda: torch.compile(nn.Linear(6, 6)),
    "function": lambda: nn.Linear(6, 6).forward,
}


@pytest.mark.parametrize("build", UNCHANGING.values(), ids=UNCHANGING)
def test_layers_of_torch_are_known_to_change_nothing(build):
    assert is_unchanging(build())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("build", CHANGING.values(), ids=CHANGING)
def test_what_somebody_may_have_changed_is_not_known(build):
    assert not is_unchanging(build())


def test_a_hook_on_all_modules_is_seen():
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert not is_unchanging(nn.Linear(6, 6))
    finally:
        handle.remove()
    assert is_unchanging(nn.Linear(6, 6))


def test_a_method_of_torch_that_a_program_replaced_is_seen(monkeypatch):
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x)
    assert not is_unchanging(nn.Sequential(nn.Linear(6, 6)))
