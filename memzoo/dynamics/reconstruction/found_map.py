"""A map made of a module: how the module is called, and which part of what it returns is the reconstruction."""

import logging
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from memzoo._attempt import Attempt
from memzoo._user_warning import warn_user
from memzoo.dynamics.reconstruction.calls import Forward, find_owner
from memzoo.dynamics.reconstruction.choice import choose_part
from memzoo.dynamics.reconstruction.parts import Step, list_parts, take_part
from memzoo.errors import NotASelfMapError

LOGGER = logging.getLogger("memzoo")
_SAID: weakref.WeakSet[Any] = weakref.WeakSet()
"""Modules and functions of which was said what is measured."""


@dataclass(frozen=True)
class Pick:
    """Take one part of an output."""

    steps: tuple[Step, ...] = ()
    unpatchify: str | None = None
    """Path of the sub-module whose method ``unpatchify`` makes an image of the part; None if the part is one."""

    def __call__(self, module: Any, output: Any) -> Any:
        """Return the part."""
        value = take_part(output, self.steps)
        return value if self.unpatchify is None else module.get_submodule(self.unpatchify).unpatchify(value)

    @property
    def statement(self) -> str:
        """Say which part is taken; empty for an output that is a tensor."""
        path = "".join(map(str, self.steps))
        return path if self.unpatchify is None else f"unpatchify of {path}"


class FoundMap(nn.Module):
    """See a module as a self-map; its parameters stay visible to the measurements in float64."""

    module: nn.Module

    def __init__(self, module: nn.Module, call: Forward, pick: Pick | None) -> None:
        super().__init__()
        self.module = module
        self.call = call
        self.pick = pick
        self.training = module.training

    def forward(self, x: Tensor) -> Any:
        """Reconstruct a batch; without a pick, return all that the module returns."""
        output = self.call(self.module, x)
        return output if self.pick is None else self.pick(self.module, output)


@dataclass(frozen=True, eq=False)
class FoundFunction:
    """See a function as a self-map."""

    module: Callable[..., Any]
    call: Forward
    pick: Pick | None

    def __call__(self, x: Tensor) -> Any:
        """Reconstruct a batch; without a pick, return all that the function returns."""
        output = self.call(self.module, x)
        return output if self.pick is None else self.pick(self.module, output)


class FoundMapWithCut(FoundMap):
    """Do the same for a module that names its narrowest layer."""

    def cut(self) -> tuple[nn.Module, nn.Module] | None:
        """Return the halves of the module."""
        return self.module.cut()  # pyright: ignore[reportCallIssue]


def build_map(f: Any, call: Forward, pick: Pick | None) -> Any:
    """Return a module or a function as a self-map of the same kind."""
    if not isinstance(f, nn.Module):
        return FoundFunction(f, call, pick)
    if callable(getattr(f, "cut", None)) and type(call) is Forward:
        return FoundMapWithCut(f, call, pick)
    return FoundMap(f, call, pick)


def describe_map(f: Any) -> str | None:
    """Say what of a module is measured; None where it is the tensor that forward returns."""
    found = _find_found_map(f)
    if found is None:
        return None
    part = "" if found.pick is None else found.pick.statement
    taken = f"{part} of the output of {name_map(found.module)} is taken as the reconstruction" if part else ""
    return "; ".join(filter(None, [found.call.statement, taken])) or None


def say_once(f: Any) -> None:
    """Say what of a module is measured where a user measures it for the first time.

    Warns:
        UserWarning: Forward draws at random, and something fixed is measured in its place.
    """
    found = _find_found_map(f)
    statement = describe_map(f)
    if found is None or statement is None or found.module in _SAID:
        return
    with suppress(TypeError):  # not every callable can be referred to weakly
        _SAID.add(found.module)
    if found.call.fixes_draws:
        warn_user(f"{statement}; pass a map of your own to measure another one.")
    else:
        LOGGER.info("%s", statement)


def _find_found_map(f: Any) -> FoundMap | FoundFunction | None:
    """Find the map that a search made, behind what was put around it."""
    while not isinstance(f, (FoundMap, FoundFunction)):
        if not type(f).__module__.startswith("memzoo.dynamics."):
            return None
        f = getattr(f, "module", None)
    return f


def choose_pick(module: Any, output: Any, x: Tensor, evaluate: Callable[[Tensor], Any]) -> Pick:
    """Return how the reconstruction of a batch is taken out of what a module returned for it.

    Raises:
        NotASelfMapError: No part can be taken, or several.
    """
    if isinstance(output, Tensor):
        return Pick()
    try:
        return Pick(choose_part(output, x, evaluate, name_map(module)).steps)
    except NotASelfMapError:
        pick = _pick_patches(module, output, x)
        if pick is None:
            raise
        return pick


def _pick_patches(module: Any, output: Any, x: Tensor) -> Pick | None:
    """Return how an image is made of ``logits`` that hold its patches; None if a module cannot do that."""
    logits = [part for part in list_parts(output) if part.name == "logits" and isinstance(part.value, Tensor)]
    found = find_owner(module, "unpatchify")
    if len(logits) != 1 or found is None:
        return None
    path, owner = found
    if getattr(getattr(owner, "config", None), "norm_pix_loss", False):
        raise NotASelfMapError(
            f"{logits[0].path} of {name_map(module)} holds patches that are normalised one by one (norm_pix_loss), "
            "which are no images: their mean and variance are not in the output. Train with norm_pix_loss=False, or "
            "pass self_map=lambda module, x: ... that puts them back."
        )
    with Attempt(Exception):  # a stranger's code may raise anything
        if owner.unpatchify(logits[0].value).shape == x.shape:
            return Pick(logits[0].steps, path)
    return None


def name_map(f: Any) -> str:
    """Return the name of the class of a module, or of a function."""
    if isinstance(f, nn.Module):
        return getattr(f, "_orig_mod", f)._get_name()  # inside a compiled module is the one that has a name
    return getattr(f, "__name__", type(f).__name__)
