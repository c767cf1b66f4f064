"""Choose the reconstruction among the parts of an output, by one rule."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics.reconstruction.parts import Part, list_parts
from memzoo.errors import InvalidTypeError, NotASelfMapError

NAMES = ("reconstruction", "reconstructed", "recon", "recon_x", "x_recon", "recons", "x_hat", "sample", "output")
"""Names of a reconstruction: where several parts have the shape of the input, the first of these names decides."""
OTHER_NAMES = frozenset(
    [
        *("mean", "mu", "loc", "logvar", "log_var", "log_variance", "log_covariance", "log_sigma", "log_std"),
        *("std", "stddev", "sigma", "scale", "var", "variance", "z", "latent", "latents", "code", "codes"),
        *("embedding", "embeddings", "quantized", "hidden_states", "attentions"),
        *("input", "inputs", "target", "targets", "noise", "mask", "loss"),
    ]
)
"""Names of what is no reconstruction: a part under one of them is never taken."""
LISTED = 12
"""Parts that an error lists."""
NEARBY = 0.1
"""Distance of a second point, relative to the largest entry, where a copy of the input is still one."""


def choose_part(output: Any, x: Tensor, evaluate: Callable[[Tensor], Any], name: str) -> Part:
    """Return the reconstruction of a batch ``x`` among the parts of what a map returned for it.

    It is the only floating-point tensor of the shape of the input. Where several have that shape, the one under the
    first of :data:`NAMES` is taken. The input itself, a copy or a view of it, and parts under one of
    :data:`OTHER_NAMES`, such as ``mean`` or ``z``, are never taken.

    Args:
        output: What the map returned.
        x: The batch.
        evaluate: The map, for a second evaluation where a part equals the input.
        name: How messages call the map.

    Raises:
        NotASelfMapError: No part can be taken, or several; it lists what came.
    """
    parts = list_parts(output, (*NAMES, "logits"))
    candidates = [part for part in _list_candidates(parts, x) if not _is_view(part.value, x)]
    copies = _find_copies([part for part in candidates if torch.equal(part.value, x)], x, evaluate)
    return _decide(parts, [part for part in candidates if part.steps not in copies], x, name)


def pick_reconstruction(output: Any, x: Tensor, name: str) -> Tensor:
    """Return the reconstruction by the same rule, where it is a tensor of an output in the midst of a forward.

    No value is looked at, so that this can be traced.

    Raises:
        NotASelfMapError: No part can be taken, or several; it lists what came.
    """
    if isinstance(output, Tensor):
        return output
    parts = list_parts(output, NAMES)
    return _decide(parts, [part for part in _list_candidates(parts, x) if part.value is not x], x, name).value


def pick_image(output: Any, name: str) -> Tensor:
    """Return the image in what a decoder returned: the part named as a reconstruction, else the only tensor.

    Raises:
        TypeError: Several tensors came, and none is named as a reconstruction.
    """
    if isinstance(output, Tensor):
        return output
    tensors = [part for part in list_parts(output, NAMES) if isinstance(part.value, Tensor) and part.value.ndim > 1]
    named = [part for wanted in NAMES for part in tensors if part.name == wanted]
    if named or len(tensors) == 1:
        return (named or tensors)[0].value
    raise InvalidTypeError(
        f"{name} returns {len(tensors)} tensors, none of them named as the image; wrap the module so that it returns "
        "the image alone."
    )


def _list_candidates(parts: list[Part], x: Tensor) -> list[Part]:
    """List the floating-point tensors of the shape of the input that no name says to be something else."""
    return [
        part
        for part in parts
        if isinstance(part.value, Tensor)
        and part.value.is_floating_point()
        and part.value.shape == x.shape
        and part.name not in OTHER_NAMES
    ]


def _decide(parts: list[Part], candidates: list[Part], x: Tensor, name: str) -> Part:
    """Return the only candidate, or the one whose name decides."""
    if len(candidates) > 1:
        by_name = [[part for part in candidates if part.name == wanted] for wanted in NAMES]
        candidates = next((named for named in by_name if named), candidates)
    if len(candidates) == 1:
        return candidates[0]
    raise NotASelfMapError(_describe(parts, candidates, x, name))


def _is_view(value: Tensor, x: Tensor) -> bool:
    """Tell whether a tensor is the input itself, or another view of the same memory."""
    if value is x:
        return True
    both_strided = value.layout is torch.strided and x.layout is torch.strided
    return both_strided and value.numel() > 0 and value.data_ptr() == x.data_ptr()


def _find_copies(suspects: list[Part], x: Tensor, evaluate: Callable[[Tensor], Any]) -> set[Any]:
    """Find the parts that equal the input at a second point, too; a reconstruction does so at fixed points alone."""
    if not suspects:
        return set()
    ramp = torch.linspace(0.5, 0, x.numel(), dtype=x.dtype, device=x.device).reshape(x.shape)
    size = x.abs().max()
    nearby = x + NEARBY * (torch.where(size > 0, size, torch.ones_like(size)) * ramp - x)
    values = {part.steps: part.value for part in list_parts(evaluate(nearby), (*NAMES, "logits"))}
    return {part.steps for part in suspects if part.steps not in values or torch.equal(values[part.steps], nearby)}


def _describe(parts: list[Part], candidates: list[Part], x: Tensor, name: str) -> str:
    """Word the error for an output in which no part is the reconstruction, or more than one may be."""
    shape = tuple(x.shape)
    if candidates:
        places = ", ".join(part.path for part in candidates)
        what = (
            f"{len(candidates)} tensors of the shape of the input {shape}, {places}, and none has a name that decides"
        )
    else:
        what = f"no floating-point tensor of the shape of the input {shape} that could be the reconstruction"
    listed = ", ".join(f"{part.path} {_describe_value(part.value)}".strip() for part in parts[:LISTED])
    more = f" and {len(parts) - LISTED} more" if len(parts) > LISTED else ""
    return (
        f"the output of {name} holds {what}. It holds: {listed or 'nothing'}{more}. Say which part is the "
        "reconstruction: wrap the map as lambda x: ..., in callbacks and audits pass self_map=lambda module, x: ..."
    )


def _describe_value(value: Any) -> str:
    """Name the shape and type of a tensor, the type of anything else."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__
