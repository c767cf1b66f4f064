"""Measure a module without leaving a trace on its training."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from memzoo._module_state import keep_module_unchanged
from memzoo._twins import is_kind

LOGGING = ("log", "log_dict")
"""Methods by which a LightningModule logs."""


@contextmanager
def evaluation_mode(module: nn.Module) -> Generator[None, None, None]:
    """Put a module into eval mode, without gradients and at full float32 precision, and restore all of it afterwards.

    Compiled parts run eagerly. Every submodule gets its own mode, buffers and attributes back. A precision that was set
    through the newer ``torch.backends.fp32_precision`` is left as the user set it. What a forward logs is not logged.
    """
    device = next((parameter.device.type for parameter in module.parameters()), "cpu")
    with (
        torch.inference_mode(False),  # Lightning validates in inference mode
        keep_module_unchanged(module),
        _log_nothing(module),
        _without_decorators(module),
        _full_precision(),
        torch.no_grad(),
        torch.autocast(device, enabled=False),
        torch.compiler.set_stance("force_eager"),
    ):
        _switch_to_eval(module)
        yield


def _switch_to_eval(module: nn.Module) -> None:
    """Put a module into eval mode; parts made by ``torch.export``, which have one mode and refuse, stay as they are."""
    try:
        module.eval()
    except NotImplementedError:
        module.training = False
        for part in module.children():
            _switch_to_eval(part)


def _ignore(*args: Any, **options: Any) -> None:
    """Take the place of ``LightningModule.log``."""


@contextmanager
def _log_nothing(module: nn.Module) -> Generator[None, None, None]:
    """Let the parts of a module log nothing: a run collects the values of its own forward passes alone."""
    parts = [part for part in module.modules() if is_kind(part, LightningModule)]
    own = [{name: vars(part)[name] for name in LOGGING if name in vars(part)} for part in parts]
    for part in parts:
        vars(part).update(dict.fromkeys(LOGGING, _ignore))
    try:
        yield
    finally:
        for part, methods in zip(parts, own, strict=True):
            for name in LOGGING:
                vars(part).pop(name, None)
            vars(part).update(methods)


@contextmanager
def _without_decorators(module: nn.Module) -> Generator[None, None, None]:
    """Give the parts of a module the forward of their class in place of one that accelerate has decorated.

    accelerate puts autocast around the forward of a module, where switching autocast off outside does not reach it.
    """
    decorated = [part for part in module.modules() if _is_decorated(part)]
    forwards = [vars(part).pop("forward") for part in decorated]
    try:
        yield
    finally:
        for part, forward in zip(decorated, forwards, strict=True):
            vars(part)["forward"] = forward


def _is_decorated(part: nn.Module) -> bool:
    """Tell whether a module has a forward of its own that only decorates the forward of its class."""
    function: Any = getattr(vars(part).get("forward"), "__func__", None)
    if "_original_forward" not in vars(part):
        return False
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return getattr(function, "__func__", function) is type(part).forward


@contextmanager
def _full_precision() -> Generator[None, None, None]:
    """Switch TF32 off for products and convolutions, unless torch's newer interface to precision is in use."""
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch forbids mixing the two interfaces
        yield
        return
    tf32_convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = tf32_convolutions
