"""Check arguments, for all layers; each error says what came, what was needed and what to do."""

import torch
from torch import Tensor, nn

from memzoo._types import Map
from memzoo.errors import InvalidArgumentError, InvalidTypeError, NonFiniteError, NotASelfMapError


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


def check_module(f: Map) -> None:
    """Raise unless a module is finite and maps each row alone: no batch statistics, no active dropout."""
    if not isinstance(f, nn.Module):
        return
    for name, parameter in f.named_parameters():
        _check_finite(parameter, f"parameter {name!r}")
    for name, buffer in f.named_buffers():
        _check_finite(buffer, f"buffer {name!r}")
    for name, module in f.named_modules():
        _check_maps_rows_alone(module, f"module {name!r} ({type(module).__name__})")


def _check_finite(tensor: Tensor, name: str) -> None:
    """Raise if a parameter or a buffer holds NaN or infinity."""
    if tensor.layout is not torch.strided:
        tensor = (tensor.coalesce() if tensor.is_sparse else tensor).values()
    if tensor.is_floating_point() and not tensor.isfinite().all():
        count = int((~tensor.isfinite()).sum())
        raise NonFiniteError(
            f"{name} holds NaN or infinity in {count} of {tensor.numel()} entries: "
            "the training diverged or the file is damaged; nothing can be measured on it."
        )


def _check_maps_rows_alone(module: nn.Module, name: str) -> None:
    """Raise if the output of a layer for one row depends on the other rows or on chance."""
    is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    if is_norm and module.running_mean is None:
        raise InvalidArgumentError(
            f"{name} uses batch statistics even in eval mode, so rows interact "
            "and there is no self-map; build it with track_running_stats=True."
        )
    if module.training and (is_norm or isinstance(module, (nn.modules.dropout._DropoutNd, nn.RReLU))):
        raise InvalidArgumentError(
            f"{name} is in training mode, so the map is random or mixes rows; call .eval() on the model first."
        )


def apply_map(f: Map, x: Tensor) -> Tensor:
    """Return ``f(x)``, and raise unless it is a batch of the same space and ``x`` is as it was."""
    # torch counts the changes of a tensor in place, but not of one that was made in inference mode.
    version = None if x.is_inference() else x._version
    y = f(x)
    if version is not None and x._version != version:
        raise InvalidArgumentError(
            "f works in place on its input, so that points change while they are measured; "
            "pass lambda x: f(x.clone()), or set inplace=False in its first layer."
        )
    if not isinstance(y, Tensor):
        raise NotASelfMapError(
            f"iteration needs a map from a batch to a batch, but the output is a {type(y).__name__}; "
            "wrap the model so that it returns the reconstruction alone (self_map= in the callbacks)."
        )
    if y.shape != x.shape:
        raise NotASelfMapError(
            f"iteration needs a map from a space to itself, but input {tuple(x.shape)} became {tuple(y.shape)}; "
            "pass the full autoencoder, not its encoder, and points of the shape it was trained on."
        )
    return y


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
