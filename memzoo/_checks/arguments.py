"""Check the arguments that are points, steps and radii."""

import torch
from torch import Tensor

from memzoo.errors import InvalidArgumentError, InvalidTypeError, NonFiniteError

HALF = (torch.float16, torch.bfloat16)
"""Types of half precision."""


def check_batch(x: Tensor, name: str) -> None:
    """Raise unless ``x`` is a non-empty batch of finite floating-point points."""
    if not isinstance(x, Tensor):
        raise InvalidTypeError(f"{name} must be a tensor (B, *shape), got {type(x).__name__}; use torch.as_tensor.")
    if not x.is_floating_point():
        raise InvalidTypeError(
            f"{name} must be floating point, got {x.dtype}; images as integers want `.float() / 255`."
        )
    if x.ndim < 2:
        raise InvalidArgumentError(
            f"{name} must be a batch (B, *shape), got shape {tuple(x.shape)}; add a row with x[None]."
        )
    if x.numel() == 0:
        raise InvalidArgumentError(f"{name} must hold at least one point, got shape {tuple(x.shape)}.")
    finite = x.isfinite().flatten(1).all(1)
    if not finite.all():
        rows = (~finite).nonzero().flatten().tolist()
        raise NonFiniteError(
            f"{name} holds NaN or infinity in {len(rows)} of {len(x)} rows, the first is row {rows[0]}; "
            "drop these rows or mend the data."
        )


def check_same_shape(x: Tensor, y: Tensor, names: str) -> None:
    """Raise unless the points of two batches live in the same space."""
    if x.shape[1:] != y.shape[1:]:
        raise InvalidArgumentError(
            f"{names} must be points of one space, got shapes {tuple(x.shape)} and {tuple(y.shape)}."
        )


def check_steps(steps: int) -> None:
    """Raise unless ``steps`` is a number of iterations."""
    # In Python True is an int.
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise InvalidArgumentError(f"steps must be a whole number >= 0, got {steps!r}.")


def check_eps(eps: float | Tensor) -> None:
    """Raise unless ``eps`` can be a radius in the L2 norm, or a vector of such radii."""
    if isinstance(eps, Tensor):
        is_real = eps.is_floating_point() and eps.ndim <= 1 and eps.numel() > 0
        is_valid = is_real and bool((eps > 0).all() and eps.isfinite().all())
    else:
        is_valid = isinstance(eps, (int, float)) and 0 < eps < torch.inf
    if not is_valid:
        raise InvalidArgumentError(
            f"eps must be a finite number > 0, got {eps!r}; pass one such number, or a vector of them, one for each "
            "example, or leave it out to derive it from the examples."
        )
