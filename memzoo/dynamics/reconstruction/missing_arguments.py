"""Name the arguments that a forward needs beside the batch."""

import inspect
from typing import Any

from torch import nn

from memzoo.dynamics.reconstruction.found_map import name_map
from memzoo.errors import NotASelfMapError


def list_missing_arguments(f: Any) -> list[str]:
    """List the arguments without a default that a forward takes beside the first one."""
    function = getattr(f, "_orig_mod", f).forward if isinstance(f, nn.Module) else f
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of a function in C, or of a scripted module
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = next((parameter for parameter in parameters if parameter.kind in kinds), None)
    return [
        parameter.name
        for parameter in parameters
        if parameter is not first
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def refuse_missing_arguments(f: Any, error: Exception) -> None:
    """Raise an error that names what a forward needs beside the batch, if it needs anything."""
    missing = list_missing_arguments(f)
    if missing:
        values = ", ".join(f"{name}=..." for name in missing)
        raise NotASelfMapError(
            f"{name_map(f)} needs more than the batch: {', '.join(missing)}. Say what to give it: measure "
            f"lambda x: module(x, {values}), in callbacks and audits pass self_map=lambda module, x: module(x, "
            f"{values}); memzoo.denoiser does this for a network that takes a level of noise."
        ) from error
