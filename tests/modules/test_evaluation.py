"""A module while it is measured, and afterwards."""

import contextlib
import functools
import types

import torch
from lightning.pytorch import LightningModule
from torch import nn

from memzoo.modules.evaluation import evaluation_mode


def test_a_module_comes_back_as_it_was():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2).eval())
    torch.set_float32_matmul_precision("medium")
    try:
        with contextlib.suppress(KeyError), evaluation_mode(module):
            assert not any(part.training for part in module.modules())
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.is_grad_enabled()
            raise KeyError("within")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert [part.training for part in module.modules()] == [True, True, True, False]
    assert torch.is_grad_enabled()


def test_neither_autocast_nor_inference_mode_reaches_a_measurement():
    linear = nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode(), evaluation_mode(linear):
        y = linear(torch.rand(1, 2))
    assert y.dtype == torch.float32
    assert not y.is_inference()


def test_the_newer_interface_to_precision_is_left_alone(monkeypatch):
    def forbidden(*_):
        raise RuntimeError("do not mix")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", forbidden)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", forbidden)
    module = nn.Linear(2, 2)
    with evaluation_mode(module):
        assert not module.training
    assert module.training


SAID = []
"""Outside of the modules: what these hold is put back."""


class Logging(LightningModule):
    """Logs from its forward and from that of a part."""

    def __init__(self, part=None):
        super().__init__()
        self.part = part

    def forward(self, x):
        self.log("mean", x.mean())
        self.log_dict({"norm": x.norm()})
        return x if self.part is None else self.part(x)


class Noting(Logging):
    """Logs in a way of its own."""

    def log(self, name, *arguments, **options):
        SAID.append(name)

    def log_dict(self, values, *arguments, **options):
        SAID.extend(values)


def test_a_forward_logs_nothing_while_it_is_measured():
    module = Noting(Noting())
    own = module.part.log = lambda *arguments: None  # an attribute of the user's
    before = set(vars(module))
    with evaluation_mode(module), evaluation_mode(module):
        module(torch.rand(2))
    assert SAID == []
    assert set(vars(module)) == before
    assert vars(module.part)["log"] is own
    module(torch.rand(2))
    assert SAID == ["mean", "norm", "norm"]
    SAID.clear()
    with evaluation_mode(Logging()):  # without a Trainer
        pass


def test_a_forward_that_is_decorated_with_autocast_runs_without_it():
    def decorate(forward):
        @functools.wraps(forward)
        def autocast(*arguments):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return forward(*arguments).float()

        return autocast

    module = nn.Linear(3, 3)
    x = torch.rand(2, 3)
    expected = module(x)
    module._original_forward = module.forward
    module.forward = types.MethodType(decorate(module.forward.__func__), module)
    decorated = module.forward
    assert not torch.equal(module(x), expected)
    with evaluation_mode(module):
        assert torch.equal(module(x), expected)
    assert module.forward == decorated


def test_an_exported_module_stays_in_its_one_mode_and_its_neighbours_are_in_eval_mode():
    exported = torch.export.export(nn.Linear(2, 2), (torch.ones(3, 2),)).module()
    module = nn.Sequential(exported, nn.Dropout(0.5))
    with evaluation_mode(module):
        assert not module[1].training
    assert module[1].training
