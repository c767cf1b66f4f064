"""The layers of a module and what each holds, so that weights can be put back whatever was replaced since."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from memzoo._module_state import restore_table

COMPILED = "_orig_mod."
"""What ``torch.compile`` adds to the names of the parameters of a part."""


class ModuleStructure:
    """Remember which parameters, buffers, sub-modules and hooks each part of a module has; nothing is copied.

    Pruning replaces a parameter by another one, a mask and a hook; parametrizations replace the class of the layer,
    too; ``torch.compile`` and quantization replace the layer.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parts = [(part, type(part), _list_tables(part)) for part in module.modules()]

    def restore(self) -> None:
        """Give each part what it had."""
        for part, kind, tables in self._parts:
            if type(part) is not kind:
                part.__class__ = kind
            for name, content in tables.items():
                restore_table(vars(part)[name], content)
            for name in [name for key in ("_parameters", "_buffers", "_modules") for name in tables.get(key, ())]:
                vars(part).pop(name, None)  # a masked weight, for example, that stood before the parameter


def _list_tables(part: nn.Module) -> dict[str, Any]:
    """List the parameters, buffers, sub-modules and hooks of a module, by the names of the tables that hold them."""
    plain = vars(nn.Module())
    tables = {name: table for name, table in vars(part).items() if name in plain and isinstance(table, dict)}
    return {name: dict(table) for name, table in tables.items()}


def list_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """List all parameters and buffers by name, also those that the module leaves out of its ``state_dict``."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not is_lazy(tensor):
            yield name.replace(COMPILED, ""), tensor


@torch.no_grad()
def copy_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Copy all parameters and buffers to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in list_tensors(module)}


@torch.no_grad()
def write_tensors(module: nn.Module, values: dict[str, Tensor]) -> list[str]:
    """Write values into the parameters and buffers of a module; return the names of those that it does not have."""
    present = dict(list_tensors(module))
    for name, value in values.items():
        if name.replace(COMPILED, "") in present:
            tensor = present[name.replace(COMPILED, "")]
            if tensor.shape != value.shape:
                tensor.data = torch.empty_like(value, device=tensor.device, dtype=tensor.dtype)
            tensor.copy_(value)
    return [name for name in values if name.replace(COMPILED, "") not in present]
