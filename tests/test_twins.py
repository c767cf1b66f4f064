"""Classes of Lightning that come from the other package."""

import sys
from types import ModuleType

import pytest
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping, Timer
from torch import nn

from memzoo._twins import is_kind, twins


@pytest.fixture
def other_package(monkeypatch):
    """Pretend that the process has imported a class of ``pytorch_lightning``."""
    module = ModuleType("pytorch_lightning.callbacks.early_stopping")
    module.EarlyStopping = type("EarlyStopping", (), {})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_class_of_the_other_package_is_recognized(other_package):
    assert is_kind(other_package.EarlyStopping(), EarlyStopping)
    assert is_kind(other_package.EarlyStopping(), Timer, EarlyStopping)
    assert not is_kind(other_package.EarlyStopping(), Timer)
    assert twins(EarlyStopping) == (EarlyStopping, other_package.EarlyStopping)


def test_without_the_other_package_a_class_is_alone():
    assert is_kind(Timer(), Timer)
    assert not is_kind(nn.Linear(1, 1), LightningModule)
    assert twins(nn.Linear) == (nn.Linear,)
