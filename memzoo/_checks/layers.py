"""Check the layers of a module: finite parameters, and no layer that mixes rows or draws at random."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from memzoo._module_state import find_forward, list_measured_modules
from memzoo._types import Map
from memzoo.errors import InvalidArgumentError, NonFiniteError, NotASelfMapError


def check_module(f: Map) -> None:
    """Raise unless a module is finite and maps each row alone: no batch statistics, no active dropout."""
    if not isinstance(f, nn.Module):
        return
    for name, parameter in f.named_parameters():
        _check_finite(parameter, f"parameter {name!r}")
    for name, buffer in f.named_buffers():
        _check_finite(buffer, f"buffer {name!r}")
    for name, module in f.named_modules():
        check_layer(module, f"module {name!r} ({type(module).__name__})")


def _check_finite(tensor: Tensor, name: str) -> None:
    """Raise if a parameter or a buffer holds NaN or infinity, or no values yet."""
    if is_lazy(tensor):
        raise InvalidArgumentError(
            f"{name} has no values yet, because its lazy module has seen no batch; call f(x) once before."
        )
    if tensor.layout is not torch.strided:
        tensor = (tensor.coalesce() if tensor.is_sparse else tensor).values()
    if tensor.is_floating_point() and not tensor.isfinite().all():
        count = int((~tensor.isfinite()).sum())
        raise NonFiniteError(
            f"{name} holds NaN or infinity in {count} of {tensor.numel()} entries: "
            "the training diverged or the file is damaged; nothing can be measured on it."
        )


def check_layer(module: nn.Module, name: str) -> None:
    """Raise if the output of a layer for one row depends on the other rows or on chance."""
    is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    if not is_norm and not _draws(module):
        return
    # A class with a forward of its own may have fixed what the layer of torch draws: its outputs tell.
    if not str(find_forward(module).__module__).startswith("torch.nn"):
        return
    if is_norm and module.running_mean is None:
        raise InvalidArgumentError(
            f"{name} uses batch statistics even in eval mode, so rows interact "
            "and there is no self-map; build it with track_running_stats=True."
        )
    if module.training:
        raise InvalidArgumentError(
            f"{name} is in training mode, so the map is random or mixes rows; call .eval() on the model first."
        )


def _draws(module: nn.Module) -> bool:
    """Tell whether a layer of torch draws at random in training mode."""
    if isinstance(module, nn.RReLU):
        return module.lower != module.upper
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


def _list_errors(module: nn.Module, name: str) -> list[InvalidArgumentError]:
    """Return the error for a layer as it is now, or nothing."""
    try:
        check_layer(module, f"module {name!r} ({type(module).__name__})")
    except InvalidArgumentError as error:
        return [error]
    return []


@contextmanager
def name_active_layers(f: Map) -> Generator[None, None, None]:
    """Raise if a layer runs that mixes rows or draws, in the modules behind a function; those of a module are known."""
    if isinstance(f, nn.Module):
        yield
        return
    active: list[InvalidArgumentError] = []
    hooks = []
    seen: set[nn.Module] = set()
    for root in list_measured_modules():  # each module comes before its parts
        for name, module in root.named_modules(memo=seen):
            if _list_errors(module, name):
                # Asked again when the layer runs: a function may set its modules to eval mode before it calls them.
                hooks.append(
                    module.register_forward_pre_hook(
                        lambda layer, _, name=name: active.extend(_list_errors(layer, name))
                    )
                )
    try:
        yield
    except NotASelfMapError:
        if not active:
            raise
    finally:
        for hook in hooks:
            hook.remove()
    if active:
        raise active[0]
