"""A module while it is measured, and afterwards."""

import contextlib

import torch
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
