"""Tell which modules are made of layers that an evaluation cannot change."""

from itertools import chain
from typing import TypeGuard

from torch import Tensor, nn

PLAIN = frozenset(vars(nn.Module()))
"""Attributes of every module: its tables of parameters, buffers and sub-modules, and its hooks."""
LAYERS = ("torch.nn.modules.", "memzoo.models.")
"""Packages of layers whose forward changes nothing and computes in the type of its input."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Hooks that run with a forward or a backward pass."""
HOLDERS = (Tensor, dict, list, set, tuple)
"""Types of attributes that are tensors or may hold some."""


def is_unchanging(f: object) -> TypeGuard[nn.Module]:
    """Tell whether a map is a module of known layers alone, without hooks or functions that somebody attached.

    An evaluation of it changes nothing, and it has no other tensors than parameters and buffers.
    """
    if not isinstance(f, nn.Module) or nn.modules.module._has_any_global_hook():
        return False
    return all(map(_is_known_layer, f.modules()))


def _is_known_layer(part: nn.Module) -> bool:
    """Tell whether a part of a module is as its class made it, and its class is known."""
    return _is_of_known_class(part) and not _acts_on_itself(part) and _has_plain_tensors(part) and not _holds_more(part)


def _is_of_known_class(part: nn.Module) -> bool:
    """Tell whether class and forward pass of a part belong to the known packages; a program may have replaced them."""
    kind = type(part)
    return kind.__module__.startswith(LAYERS) and str(getattr(kind.forward, "__module__", "")).startswith(LAYERS)


def _acts_on_itself(part: nn.Module) -> bool:
    """Tell whether a forward pass may change what the part holds: hooks, running statistics, embeddings."""
    attributes = vars(part)
    has_statistics = part.training and bool(part._buffers)
    return has_statistics or bool(attributes.get("max_norm")) or any(attributes.get(name) for name in HOOKS)


def _has_plain_tensors(part: nn.Module) -> bool:
    """Tell whether all parameters and buffers of a part are tensors of torch, of real numbers."""
    tensors = chain(part._parameters.values(), part._buffers.values())
    return all(
        type(tensor) in (Tensor, nn.Parameter) and not tensor.is_complex() for tensor in tensors if tensor is not None
    )


def _holds_more(part: nn.Module) -> bool:
    """Tell whether attributes of a part hold foreign code, or tensors that are no parameters and buffers.

    Recurrent layers keep their weights in a list. What a network of ours keeps, its forward pass does not read.
    """
    is_torch = type(part).__module__.startswith("torch.")
    own = map(vars(part).__getitem__, vars(part).keys() - PLAIN)
    return any(_holds_foreign_code(value) or (is_torch and _may_hold_tensors(value)) for value in own)


def _holds_foreign_code(value: object) -> bool:
    """Tell whether an attribute is or holds something that can be called, other than a module of known layers."""
    parts = value if isinstance(value, (list, tuple)) else (value,)
    return any(callable(part) and not is_unchanging(part) for part in parts)


def _may_hold_tensors(value: object) -> bool:
    """Tell whether an attribute is a tensor, or holds tensors or containers."""
    if isinstance(value, (list, tuple, set)):
        return any(isinstance(item, HOLDERS) for item in value)
    return isinstance(value, HOLDERS)
