"""Find the module behind what a training loop calls: behind the wrappers of a module, and behind a function."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from memzoo._module_state import MapState
from memzoo._twins import is_kind
from memzoo.errors import InvalidArgumentError, InvalidTypeError


class CalledFunction(nn.Module):
    """Call a function as the forward of a module, and hold the modules that it calls.

    Their parameters say on which device the function computes, and they are put into eval mode with it.
    """

    function: Callable[[Tensor], Any]

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.called: nn.ModuleList = nn.ModuleList(_list_outermost(MapState(function).modules))

    def forward(self, x: Tensor) -> Any:
        """Call the function."""
        return self.function(x)


def find_module(model: nn.Module | Callable[[Tensor], Any]) -> nn.Module:
    """Return the module behind the wrappers by which loops run it, or a module that calls a function.

    The wrappers are ``torch.compile``, ``DistributedDataParallel``, ``DataParallel`` and that of Fabric: all of them
    leave the parameters to the module that they hold, and evaluating through them would wait for other processes.

    Raises:
        TypeError: ``model`` cannot be called.
        ValueError: The parameters are divided among processes, so that no process could evaluate the map alone.
    """
    if not isinstance(model, nn.Module):
        if not callable(model):
            raise InvalidTypeError(
                f"a model is a module, or a function from a batch to a batch of the same shape, got "
                f"{type(model).__name__}."
            )
        return CalledFunction(model)
    inner: Any = getattr(model, "_orig_mod", None)  # of torch.compile
    if isinstance(model, (DistributedDataParallel, DataParallel)) or is_kind(model, _FabricModule):
        inner = model.module
    if isinstance(inner, nn.Module):
        return find_module(inner)
    if _is_sharded(model):
        raise InvalidArgumentError(
            f"the parameters of {type(model).__name__} are divided among processes (FSDP, tensor parallel), so that no "
            "process can evaluate it alone; train with DDP, or measure the checkpoint with memzoo.audit."
        )
    return model


def _is_sharded(model: nn.Module) -> bool:
    """Tell whether a process holds parts of some parameters only."""
    if not torch.distributed.is_available():
        return False
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    parts = any(isinstance(part, FullyShardedDataParallel) for part in model.modules())
    return parts or any(isinstance(parameter, DTensor) for parameter in model.parameters())


def _list_outermost(modules: list[nn.Module]) -> list[nn.Module]:
    """Return those modules that are no parts of others in the list."""
    inside = {id(part) for module in modules for part in module.modules() if part is not module}
    return [module for module in modules if id(module) not in inside]
