"""Compare a module, and the state of the process, before and after a measurement: bit for bit."""

import random
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Snapshot = dict[str, Any]
"""What was found at each path, in a form that can be compared."""


def take_snapshot(f: Callable[..., Any], module: nn.Module) -> Snapshot:
    """Write down all that a measurement must leave alone.

    That is every tensor, number, list and table in the module and in what it refers to, the generators of random
    numbers, and the settings of torch.
    """
    found: Snapshot = {}
    _write(module, "module", found, set())
    if not isinstance(f, nn.Module):
        _write(vars(f) if hasattr(f, "__dict__") else None, "function", found, set())
    found["random torch"] = _read_bytes(torch.get_rng_state())
    found["random numpy"] = repr(np.random.get_state(legacy=False))  # noqa: NPY002  (a measurement must not touch it)
    found["random python"] = hash(random.getstate())
    found["settings"] = (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    )
    return found


def list_changes(before: Snapshot, after: Snapshot) -> list[str]:
    """List the paths that are not as before."""
    paths = [*before, *(path for path in after if path not in before)]
    return [path for path in paths if path not in before or path not in after or before[path] != after[path]]


def _write(value: Any, path: str, found: Snapshot, seen: set[int]) -> None:
    """Write down a value and, once for each object, what it holds."""
    if isinstance(value, Tensor):
        # An optimizer holds the parameters themselves; of other tensors the bits count.
        identity = id(value) if isinstance(value, nn.Parameter) else 0
        found[path] = (identity, value.requires_grad, *_describe_tensor(value))
        _write(value.grad if value.is_leaf else None, f"{path}.grad", found, seen)
        return
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype)):
        found[path] = value if value == value else "NaN"
        return
    if isinstance(value, weakref.ref):
        return  # a recurrent layer renews those to its weights whenever it is called
    if id(value) in seen:
        return
    seen.add(id(value))
    # A list that was rebuilt of the same things is the same list to everyone who reads it.
    found[path] = (type(value).__name__, 0 if type(value) in (list, tuple, dict, set) else id(value))
    for name, inner in _list_contents(value):
        _write(inner, f"{path}.{name}", found, seen)


def _list_contents(value: Any) -> list[tuple[str, Any]]:
    """List what a module, a table or a list holds; of other objects nothing is looked at."""
    if isinstance(value, torch.jit.ScriptModule):
        return [*_copy_state(value), ("training", value.training)]
    if isinstance(value, nn.Module):
        # what a quantised layer holds can be read by its state alone
        if "quantized" in type(value).__module__:
            return [*_copy_state(value), ("training", value.training)]
        return list(vars(value).items())
    if isinstance(value, dict):
        return [(str(key), inner) for key, inner in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(str(number), inner) for number, inner in enumerate(value)]
    return []


def _copy_state(module: nn.Module) -> list[tuple[str, Any]]:
    """Copy the state of a module whose tensors are made anew each time that they are read."""
    return [
        (name, value.detach().clone() if isinstance(value, Tensor) else value)
        for name, value in module.state_dict(keep_vars=True).items()
    ]


def _describe_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """Describe the type, the layout and the bits of a tensor."""
    if is_lazy(tensor):
        return ("uninitialised",)
    form = (tensor.dtype, tuple(tensor.shape), tensor.layout)
    if tensor.layout != torch.strided:
        return (*form, _read_bytes(tensor.to_dense()))
    if tensor.is_quantized:
        return (*form, _read_bytes(tensor.int_repr()), tensor.q_scale())
    return (*form, tensor.stride(), _read_bytes(tensor))


def _read_bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
