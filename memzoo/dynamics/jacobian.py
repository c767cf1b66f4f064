"""The Jacobian of a self-map as a product of two thin factors, J = left @ right."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jacfwd, jacrev, vmap

from memzoo._checks import apply_map
from memzoo._types import Map
from memzoo.dynamics.precision import in_dtype, widened
from memzoo.errors import NonFiniteError

Method = Literal["cut", "dense"]


@runtime_checkable
class HasCut(Protocol):
    """A module that knows its narrowest layer by a method ``cut``."""

    def cut(self) -> tuple[nn.Module, nn.Module] | None:
        """``(h, g)`` with ``f(x) = g(h(x))`` and ``h(x)`` smaller than ``x``, or None where no layer is narrower.

        Every path from input to output must pass through ``h(x)``; skip connections count.
        """
        ...


@dataclass(frozen=True)
class Factors:
    """``J(x) = left @ right`` at each point, in the precision that the map allows."""

    left: Float[Tensor, "batch dim rank"]
    right: Float[Tensor, "batch rank dim"]
    backward: Float[Tensor, " batch"]
    """Frobenius norm of what the factors leave out of the Jacobian."""
    method: Method


def cut_of(f: Map) -> tuple[nn.Module, nn.Module] | None:
    """The declared cut of ``f``, None without one."""
    return f.cut() if isinstance(f, HasCut) and inspect.ismethod(f.cut) else None


def choose_method(f: Map, method: Method | None) -> Method:
    """``method`` where one is given and possible, else the cheapest that is exact for ``f``."""
    if method not in (None, "cut", "dense"):
        raise ValueError(f"method must be 'cut', 'dense' or None (choose), got {method!r}.")
    has_cut = cut_of(f) is not None
    if method == "cut" and not has_cut:
        raise ValueError(
            f"method='cut' needs a module whose cut() returns its two halves, and {type(f).__name__} has none "
            "narrower than its input; use method='dense'."
        )
    return method or ("cut" if has_cut else "dense")


@torch.no_grad()
def blocks(f: Map, x: Tensor, method: Method, memory_limit: int) -> list[Tensor]:
    """Row indices of ``x`` in blocks whose factors, tangents and bases fit into ``memory_limit`` bytes of float64."""
    rank = dim = x[0].numel()
    if method == "cut" and (halves := cut_of(f)) is not None:
        rank = in_dtype(halves[0], x.dtype)(x[:1]).numel()
    rows = max(1, memory_limit // (8 * 6 * dim * rank))
    return list(torch.arange(len(x), device=x.device).split(rows))


def linearise(f: Map, x: Float[Tensor, "batch *shape"], method: Method, memory_limit: int = 2**30) -> Factors:
    r"""Factors of :math:`J_f(x)` at each row of ``x``.

    Through a cut :math:`f = g \circ h`: :math:`J_f(x) = J_g(h(x)) J_h(x)`, with ``h`` linearised at ``x`` and ``g`` at
    ``h(x)``, so the product is the Jacobian at every point and not only at fixed points. k forward and k reverse
    products for a cut of size k. Dense: d reverse products; a Jacobian of low rank (any bottleneck that was not
    declared) is then compressed to its range, and ``backward`` holds what that left out.
    """
    if method == "cut":
        halves = cut_of(f)
        assert halves is not None, "choose_method saw to it"
        left, right = _through(f, *halves, x.double(), memory_limit)
        _check_finite(left, right)
        return Factors(left, right, left.new_zeros(len(x)), "cut")
    wide, point = widened(f, x)
    jacobian = _jacobian(wide, point, jacrev, memory_limit)
    _check_finite(jacobian)
    return Factors(*_compressed(jacobian), "dense")


def _check_finite(*parts: Tensor) -> None:
    """Before any factorisation: torch.linalg.eig on NaN can kill the process."""
    finite = torch.stack([part.isfinite().flatten(1).all(1) for part in parts]).all(0)
    if not finite.all():
        raise NonFiniteError(
            f"the Jacobian at row {int((~finite).nonzero()[0])} holds NaN or infinity: f is not differentiable there "
            "or overflows; look at f(x) of this row."
        )


def _through(f: Map, h: nn.Module, g: nn.Module, x: Tensor, memory_limit: int) -> tuple[Tensor, Tensor]:
    encode, decode = in_dtype(h, torch.float64), in_dtype(g, torch.float64)
    latent = encode(x)
    whole, halves = in_dtype(f, torch.float64)(x), decode(latent)
    if not torch.allclose(whole, halves, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise ValueError(
            f"cut() of {type(f).__name__} is wrong: g(h(x)) differs from f(x) by up to "
            f"{(whole - halves).abs().max():.2g}; every path must pass through the cut, skip connections too."
        )
    return _jacobian(decode, latent, jacfwd, memory_limit), _jacobian(encode, x, jacrev, memory_limit)


def _jacobian(f: Map, x: Tensor, transform: Callable[..., Callable[..., Tensor]], memory_limit: int) -> Tensor:
    """Jacobians (B, out, in) of a map that may change the shape; f sees batches of one row.

    Reverse products are taken in chunks, reckoning with intermediate tensors of a hundred times the size of a point.
    """
    products = {"chunk_size": max(1, memory_limit // (8 * 100 * x.numel()))} if transform is jacrev else {}

    def row(flat: Tensor) -> Tensor:
        return f(flat.reshape(1, *x.shape[1:])).reshape(-1)

    with warnings.catch_warnings():  # torch's own forward mode uses its own deprecated torch.jit.script
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.jit.script")
        try:
            return vmap(transform(row, **products))(x.flatten(1))
        except RuntimeError:  # control flow that depends on the data: one row at a time, in reverse mode
            return torch.stack([jacrev(row)(point) for point in x.flatten(1)])


def _compressed(jacobian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factors through the range of each Jacobian, found by a random sketch and checked, where it is thin.

    With ``Q`` an orthonormal basis of the range, J = Q (Q^T J) up to rounding; the exact remainder is returned.
    """
    batch, dim, _ = jacobian.shape
    norm = torch.linalg.matrix_norm(jacobian)
    rounding = torch.finfo(jacobian.dtype).eps * dim**0.5
    generator = torch.Generator().manual_seed(0)
    for rank in (dim // 8, dim // 4, dim // 2):
        if rank < 16:  # nothing to gain on small matrices
            continue
        sketch = torch.randn(dim, rank, generator=generator, dtype=jacobian.dtype).to(jacobian.device)
        basis = torch.linalg.qr(jacobian @ sketch).Q
        core = basis.mT @ jacobian
        backward = torch.linalg.matrix_norm(jacobian - basis @ core)
        if (backward <= rounding * norm).all():
            return basis, core, backward
    identity = torch.eye(dim, dtype=jacobian.dtype, device=jacobian.device).expand(batch, dim, dim)
    return jacobian, identity, torch.zeros_like(norm)


def check_differentiable_self_map(f: Map, x: Tensor) -> None:
    """One evaluation: the shape is kept and the output is finite."""
    with torch.no_grad():
        y = apply_map(f, x)
    finite = y.isfinite().flatten(1).all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise NonFiniteError(f"f(x) holds NaN or infinity at row {row}: f overflows there; scale x as in training.")
