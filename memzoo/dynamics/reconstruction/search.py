"""Find the self-map of a module or a function by evaluating it once at one point."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from memzoo._attempt import Attempt, is_out_of_memory
from memzoo._generators import generators_are_at, keep_generators_unchanged, read_generators
from memzoo._module_state import is_checked
from memzoo._types import Map
from memzoo.dynamics.reconstruction.calls import (
    HALVES,
    AtMode,
    FixedMask,
    Forward,
    FromKey,
    find_key,
    find_owner,
    spread_noise,
)
from memzoo.dynamics.reconstruction.found_map import Pick, build_map, choose_pick, name_map
from memzoo.dynamics.reconstruction.missing_arguments import refuse_missing_arguments
from memzoo.dynamics.reconstruction.parts import list_parts

Cast = Callable[[Any, torch.dtype], Any]
"""Return a module that reads its parameters in a type, and any other map as it is."""
AGREES = 1e-4
"""Relative difference between the decoded mode and a forward without draws that rounding may make."""
aten = torch.ops.aten


@torch.no_grad()
def find_map(f: Map, x: object, cast: Cast) -> Map:
    """Return ``f`` as a map from a batch to a batch; one that returns a tensor and does not draw is returned unchanged.

    - Of a tuple, a dict, a dataclass or any other object, the reconstruction is taken by the rule of
      :func:`memzoo.dynamics.reconstruction.choice.choose_part`, and ``.logits`` of a module with a method
      ``unpatchify`` as an image.
    - A forward that reads its batch from one key of a dict is given such a dict.
    - A variational autoencoder that draws its code is measured at the mode of its posterior, a masked autoencoder that
      takes ``noise`` with a fixed mask. What draws in any other way is returned as it is: checks refuse it.

    Within a measurement that has checked ``f``, nothing is done. Where ``f`` cannot be evaluated, the check of the map
    that follows says why.

    Raises:
        NotASelfMapError: No part is the reconstruction, or several may be; forward needs more than the batch.

    Cost: one evaluation of one point, a few more where it draws.
    """
    if is_checked(f) or not _is_batch(x) or _is_lazy(f):
        return f
    one = x[:1].detach().clone()
    with keep_generators_unchanged(), warnings.catch_warnings():
        # What a forward warns of comes again where it is measured; torch warns of an image that is read as a dict.
        warnings.simplefilter("ignore")
        return _Search(f, one, cast).find()


def _is_batch(x: object) -> TypeGuard[Tensor]:
    """Tell whether a map can be evaluated at these points; checks of arguments say what else is wrong with them."""
    return isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 1 and x.numel() > 0


def _is_lazy(f: Map) -> bool:
    """Tell whether a module makes its parameters at its first call, which is not that of a measurement."""
    return isinstance(f, nn.Module) and any(map(is_lazy, (*f.parameters(), *f.buffers())))


class _Answer(NamedTuple):
    """What a map returned, and whether it drew from a global generator for that."""

    output: Any
    draws: bool


class _Search:
    """Evaluate a map in several ways at one point."""

    def __init__(self, f: Any, x: Tensor, cast: Cast) -> None:
        self.f: Any = f
        self.x: Tensor = x
        self.cast: Cast = cast

    def find(self) -> Map:
        """Return the map."""
        call = Forward()
        try:
            answer = self._evaluate(call)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            found = self._give_dict()
            if found is None:
                refuse_missing_arguments(self.f, error)
                return self.f
            call, answer = found
        is_plain = isinstance(answer.output, Tensor) and type(call) is Forward
        if is_plain and (not answer.draws or answer.output.shape != self.x.shape):
            return self.f
        pick = self._choose(call, answer.output)
        if answer.draws and self._is_random(call, pick):
            return self._replace_draws(call, pick, answer.output)
        return self.f if is_plain else build_map(self.f, call, pick)

    def _give_dict(self) -> tuple[Forward, _Answer] | None:
        """Call the map with a dict, if it reads one key of it."""
        key = find_key(self.cast(self.f, self.x.dtype), self.x) if isinstance(self.f, nn.Module) else None
        if key is None:
            return None
        call = FromKey(f"{name_map(self.f)} is given its batch as {{{key!r}: x}}", key=key)
        with Attempt(Exception):
            return call, self._evaluate(call)
        return None

    def _build(self, call: Forward, pick: Pick | None) -> Any:
        is_own = type(call) is Forward and pick is None
        return self.cast(self.f if is_own else build_map(self.f, call, pick), self.x.dtype)

    def _evaluate(self, call: Forward) -> _Answer:
        before = read_generators()
        output = self._build(call, None)(self.x.clone())
        return _Answer(output, not generators_are_at(before))

    def _choose(self, call: Forward, output: Any) -> Pick:
        return choose_pick(self.f, output, self.x, self._build(call, None))

    def _is_random(self, call: Forward, pick: Pick) -> bool:
        """Tell whether two evaluations give two answers."""
        f = self._build(call, pick)
        return not torch.equal(f(self.x.clone()), f(self.x.clone()))

    def _replace_draws(self, call: Forward, pick: Pick, output: Any) -> Map:
        """Return the map with a code or a mask that is fixed where it draws one; as it is if neither is known."""
        for fixed in self._list_fixed(output):
            with Attempt(Exception):  # the halves of a stranger's module may be anything
                chosen = self._choose(fixed, self._evaluate(fixed).output)
                if self._is_forward_without_draws(fixed, chosen, call, pick) and not self._is_random(fixed, chosen):
                    return build_map(self.f, fixed, chosen)
        is_plain = isinstance(output, Tensor) and type(call) is Forward
        return self.f if is_plain else build_map(self.f, call, pick)

    def _list_fixed(self, output: Any) -> Iterator[Forward]:
        """List how the module could be called without its draws."""
        name = name_map(self.f)
        for encode, decode in HALVES:
            found = find_owner(self.f, encode, decode)
            if found is not None:
                yield AtMode(
                    f"forward of {name} draws its code at random; it is measured at the mode of its posterior, "
                    f"{decode}(mode of {encode}(x))",
                    *(found[0], encode, decode),
                )
        found = find_owner(self.f, "unpatchify")
        logits = [part.value for part in list_parts(output) if part.name == "logits" and isinstance(part.value, Tensor)]
        if found is not None and logits:
            ratio = getattr(getattr(found[1], "config", None), "mask_ratio", None)
            share = f"{ratio:.0%} of the" if isinstance(ratio, (int, float)) else "some"
            yield FixedMask(
                f"forward of {name} draws a mask at random; it is measured with one fixed mask, the same for all rows, "
                f"which hides {share} patches; set config.mask_ratio = 0 to hide none",
                *(found[0], logits[0].shape[1]),
            )

    def _is_forward_without_draws(self, fixed: Forward, chosen: Pick, call: Forward, pick: Pick) -> bool:
        """Tell whether this is what forward returns where normal draws are their mean, and uniform ones are spread."""
        before = read_generators()
        with _FixedDraws():
            expected = self._build(call, pick)(self.x.clone())
        if not generators_are_at(before):  # it draws from another distribution as well
            return False
        found = self._build(fixed, chosen)(self.x.clone())
        return bool((found - expected).norm() <= AGREES * expected.norm())


class _FixedDraws(TorchDispatchMode):
    """Replace each draw from a normal distribution by its mean, and uniform draws by numbers that are spread evenly."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute an operation, or return what takes the place of a draw."""
        kwargs = kwargs or {}
        operation = getattr(func, "overloadpacket", func)
        own = {name: value for name, value in kwargs.items() if name != "generator"}
        if operation is aten.randn:
            return torch.zeros(args[0], **own)
        if operation is aten.randn_like:
            return torch.zeros_like(args[0], **own)
        if operation is aten.normal_:
            return args[0].fill_(args[1] if len(args) > 1 else own.get("mean", 0.0))
        if operation is aten.normal and isinstance(args[0], Tensor):
            return args[0].clone()
        if operation is aten.rand and len(args[0]) == 2:
            rows, count = args[0]
            return spread_noise(rows, count, own.get("device") or torch.device("cpu"))
        return func(*args, **kwargs)
