"""Take back attractors that orbits in half precision do not return to.

A certificate holds for the map of real numbers that a function computes. In half precision a step towards the attractor
may be shorter than half a unit in the last place; it is then rounded away, and the orbit rests beside the attractor.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from memzoo._attempt import Attempt
from memzoo._checks import HALF
from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.dynamics.orbits import iterate
from memzoo.dynamics.tracing import Widened, widen_points

Function = TypeVar("Function", bound=Callable[..., Any])

STEPS = 1000
"""Most iterations after a push, where the certificate does not name them."""
UNITS = (1, 4)
"""Lengths of the pushes, in units in the last place of each coordinate."""


def confirm_in_half_precision(certify: Function) -> Function:
    """Decorate the function that certifies examples: those in half precision are certified as float32.

    An attractor is then kept only if orbits in half precision from beside it end nearer to it than half of the push.
    """

    @wraps(certify)
    def certify_in_any_precision(f: Map, examples: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(examples, Tensor) or examples.dtype not in HALF:
            return certify(f, examples, *args, **kwargs)
        found = certify(f, widen_points(f, examples, "examples"), *args, **kwargs)
        if not _computes_in(examples.dtype, f, examples[:1]):
            return found
        rows = found.attractor.nonzero().flatten()
        returns = _test_pushes_in(examples.dtype, f, found.points[rows], steps=kwargs.get("steps", STEPS))
        found = replace(found, returns=found.returns.index_put((rows,), returns))
        return replace(found, basin_radius=found.basin_radius.masked_fill(~found.attractor, torch.nan))

    return cast(Function, certify_in_any_precision)


def _computes_in(dtype: torch.dtype, f: Map, row: Tensor) -> bool:
    """Tell whether a map takes points of this type and returns them; parameters of float32 do not."""
    if isinstance(f, Widened):
        return True
    with Attempt(Exception):  # a map of float32 alone may raise anything
        return f(row).dtype == dtype
    return False


def _test_pushes_in(dtype: torch.dtype, f: Map, points: Tensor, steps: int) -> Tensor:
    """Tell to which points all orbits in ``dtype`` from beside them return.

    Warns:
        UserWarning: Some orbits do not return.
    """
    returns = torch.ones(len(points), dtype=torch.bool, device=points.device)
    if not len(points):
        return returns
    centre = points.to(dtype)
    signs = torch.randn(centre.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sign()
    for units in UNITS:
        for side in (-1, 1):
            pushed = _push(centre, side * units * signs.to(centre.device))
            returns &= _return(f, centre, pushed, steps)
    if not returns.all():
        warn_user(
            f"{int((~returns).sum())} of {len(points)} attractors are none in {dtype}: orbits that begin beside them "
            "do not return, because their steps are rounded away; pass examples.float() to certify them in float32.",
        )
    return returns


def _push(points: Tensor, units: Tensor) -> Tensor:
    """Move each coordinate by so many units in its last place, one of 0 by those of the largest coordinate."""
    wide = points.double()
    largest = wide.abs().flatten(1).amax(1).clamp(min=1e-3).reshape(-1, *[1] * (points.ndim - 1))
    size = torch.where(wide == 0, largest, wide.abs())
    return (wide + units * torch.finfo(points.dtype).eps * size).to(points.dtype)


def _return(f: Map, centre: Tensor, pushed: Tensor, steps: int) -> Tensor:
    """Tell from which pushed points the orbit ends nearer to the centre than half of the push."""
    orbit = iterate(f, pushed, steps, tol=0.0, latent=False)
    gap = (orbit.points.double() - centre.double()).flatten(1).norm(dim=1)
    length = (pushed.double() - centre.double()).flatten(1).norm(dim=1)
    return (gap < 0.5 * length) & ~orbit.diverged
