"""Differentiate functions of flat rows automatically: Jacobians in full, or products with them, for all points at once.

Forward mode gives one column of a Jacobian at a time, reverse mode one row (Griewank and Walther, Evaluating
Derivatives, chapter 3). The transforms of ``torch.func`` take all points at once where they can; where they cannot, the
points are taken one by one, and at last plain autograd differentiates what it does in every training.

The transforms may also give wrong numbers without an error: ``jacrev`` over ``cdist`` does, and ``vmap`` of ``jvp``
over ``linalg.solve``. Each result is therefore compared with one backward pass of plain autograd.
"""

import warnings
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.func import jacrev, jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo._attempt import Attempt
from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.dynamics.spectra.flat_map import FlatMap, flatten_map
from memzoo.dynamics.spectra.plain_autograd import (
    compute_jacobians_by_autograd,
    linearise_by_autograd,
    pull_back_batch_by_autograd,
    pull_back_by_autograd,
)
from memzoo.dynamics.spectra.products import Products
from memzoo.errors import NotDifferentiableError

__all__ = [
    "Products",
    "compute_jacobians",
    "flatten_map",
    "linearise",
    "linearise_row_by_row",
    "linearise_transposed",
    "map_rows",
    "pull_back",
]

AGREEMENT = 0.25
"""Share of the digits that two ways of automatic differentiation must have in common: a wrong rule leaves none, and
cancellation inside the map takes many."""
NOISE = 10_000
"""Units in the last place, relative to |f(x)|, that a derivative is allowed to be off by over the norm of a point: the
exponentials of a softmax multiply the rounding of what they are taken of."""
Result = TypeVar("Result")
_EXPLAINED: weakref.WeakSet = weakref.WeakSet()
"""Maps whose slower way was announced."""

# A map may draw numbers that do not matter, such as noise times zero; one that draws numbers that do is refused.
map_rows = partial(torch.func.vmap, randomness="same")


def compute_jacobians(f: Map, points: Tensor, tangents: int, *, forward: bool = False, checked: bool = True) -> Tensor:
    """Compute the Jacobians (B, out, in) of a function of flat rows.

    Args:
        f: Function.
        points: One point a row.
        tangents: Tangents or cotangents of a single point that fit into memory.
        forward: Use forward mode, for a function with fewer inputs than outputs.
        checked: Compare with plain autograd; False for whoever does that with the product of several Jacobians.

    Raises:
        NotDifferentiableError: Neither ``torch.func`` nor plain autograd can differentiate ``f``.
    """
    chunk = max(1, tangents // len(points))

    def compute_forward(point: Tensor) -> Tensor:
        identity = torch.eye(len(point), dtype=point.dtype, device=point.device)
        return map_rows(lambda v: jvp(f, (point,), (v,))[1], chunk_size=chunk, out_dims=1)(identity)

    def compute_all() -> Tensor:
        if not forward:
            return map_rows(jacrev(f, chunk_size=chunk))(points)
        return map_rows(compute_forward)(points)

    def check(jacobians: Tensor) -> None:
        u = _draw(jacobians[..., 0])
        found = torch.einsum("bij,bi->bj", jacobians.detach(), u)
        _compare_with_autograd(f, points, u, found, _bound_norm(jacobians.detach().flatten(1)))

    return _try_in_turn(
        f,
        compute_all,
        # control flow that depends on the data, or no forward mode: one row at a time, reverse
        lambda: torch.stack([jacrev(f, chunk_size=chunk)(point) for point in points]),
        lambda: compute_jacobians_by_autograd(f, points, tangents),
        check if checked else None,
    )


def pull_back(f: Map, points: Tensor, cotangents: Tensor) -> Tensor:
    """Compute J^T u at each point for its own cotangent u."""

    def pull_row(point: Tensor, cotangent: Tensor) -> Tensor:
        return vjp(f, point)[1](cotangent)[0]

    def pull_row_by_row() -> Tensor:
        pairs = zip(points, cotangents, strict=True)
        return torch.stack([pull_row(point, cotangent) for point, cotangent in pairs])

    return _try_in_turn(
        f,
        lambda: map_rows(pull_row)(points, cotangents),
        pull_row_by_row,
        lambda: pull_back_by_autograd(f, points, cotangents),
    )


def linearise(f: Map, points: Tensor) -> Products:
    """Evaluate a function of flat rows at each point once, and return the products with its Jacobians.

    J v is the derivative of the linear map u -> J^T u, so that forward mode is not needed.
    """
    return _linearise_batch(map_rows(f), points)


def linearise_row_by_row(f: Map, points: Tensor) -> Products:
    """Return the same as :func:`linearise`, row by row if the control flow of ``f`` depends on the data."""

    def linearise_rows() -> Products:
        return _join_products([_linearise_batch(lambda rows: f(rows[0])[None], row[None]) for row in points])

    return _try_in_turn(
        f,
        lambda: linearise(f, points),
        linearise_rows,
        lambda: linearise_by_autograd(f, points),
        lambda products: _check_products(f, points, products),
    )


def linearise_transposed(f: Map, points: Tensor) -> Map:
    """Evaluate a function of flat rows at each point once, and return the products J^T u alone: half of the memory."""
    pull = vjp(map_rows(f), points)[1]
    return map_rows(lambda u: pull(u)[0])


def _linearise_batch(f: Map, points: Tensor) -> Products:
    """Return the products with the Jacobians of a function of a batch of flat rows."""
    pull = vjp(f, points)[1]
    push = vjp(lambda u: pull(u)[0], torch.zeros_like(points))[1]
    return Products(
        map_rows(lambda v: push(v)[0]), map_rows(lambda u: pull(u)[0]), lambda rows: _linearise_batch(f, points[rows])
    )


class _WrongDerivativeError(Exception):
    """A transform of ``torch.func`` contradicts plain autograd."""


def _check_products(f: Map, points: Tensor, products: Products) -> None:
    """Compare J^T u with plain autograd for one of two vectors, and J v with J^T u by <u, J v> = <J^T u, v>."""
    u = _draw(points.expand(2, -1, -1))
    v = u.flip(0)
    pulled = products.pull(u)
    pushed = products.push(v)
    size = _bound_norm(pulled) + _bound_norm(pushed)
    _compare_with_autograd(f, points, u[1], pulled[1], size[1])
    gap = ((u * pushed).sum(2) - (pulled * v).sum(2)).abs()
    rows = _differs(gap, size * torch.linalg.vector_norm(u, dim=2)).any(0).nonzero().flatten()
    lengths = torch.linalg.vector_norm(u[:, rows], dim=2) * torch.linalg.vector_norm(v[:, rows], dim=2)
    if len(rows) and (gap[:, rows] > _bound_invisible(f, points[rows]) * lengths).any():
        raise _WrongDerivativeError


def _bound_norm(vectors: Tensor) -> Tensor:
    """Bound the norms of vectors by their largest entries, since squares of extreme numbers leave the number range."""
    return vectors.abs().amax(-1) * vectors.shape[-1] ** 0.5


def _draw(like: Tensor) -> Tensor:
    """Draw a vector for each point; Freivalds' check of a product by random vectors."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


def _compare_with_autograd(f: Map, points: Tensor, u: Tensor, found: Tensor, size: Tensor) -> None:
    """Raise if J^T u differs from that of plain autograd beyond the rounding of Jacobians of norm ``size``.

    Where a map saturates, its derivative is rounding, and has no digits to compare.
    """
    room = size * torch.linalg.vector_norm(u, dim=1)
    try:
        gap = _bound_norm(found - pull_back_batch_by_autograd(f, points, u))
        rows = _differs(gap, room).nonzero().flatten()
        if len(rows):  # rounding at a kink, or control flow that depends on the other rows
            gap = _bound_norm(found[rows] - pull_back_by_autograd(f, points[rows], u[rows]))
            invisible = _bound_invisible(f, points[rows]) * torch.linalg.vector_norm(u[rows], dim=1)
            rows = rows[_differs(gap, room[rows]) & (gap > invisible)]
    except NotDifferentiableError:  # it needs the transforms, or has no derivative but zero
        return
    if len(rows):
        raise _WrongDerivativeError


def _bound_invisible(f: Map, points: Tensor) -> Tensor:
    """Return the norm of a derivative that is lost in rounding: over the whole norm of a point it changes f by less.

    Where a map saturates its derivative is what remains of numbers that cancel, and has no digits of its own. A point
    at the origin has no scale, and nothing is forgiven there.
    """
    images = torch.stack([f(point).detach() for point in points]).flatten(1)
    norms = torch.linalg.vector_norm(points, dim=1)
    rounding = NOISE * torch.finfo(points.dtype).eps * torch.linalg.vector_norm(images, dim=1)
    return torch.where(norms > 0, rounding / norms, 0.0)


def _differs(gap: Tensor, size: Tensor) -> Tensor:
    """Mark gaps that are large beside the numbers that they come from; where these are not finite they say nothing."""
    return gap > torch.finfo(gap.dtype).eps ** AGREEMENT * size


def _join_products(single: Sequence[Products]) -> Products:
    """Join the products at single points to those of the batch."""
    pushes, pulls, _ = zip(*single, strict=True)
    return Products(
        _place_side_by_side(pushes),
        _place_side_by_side(pulls),
        lambda rows: _join_products([single[row] for row in rows.tolist()]),
    )


def _place_side_by_side(products: Sequence[Map]) -> Map:
    """Join products of single points to the product of the batch."""
    return lambda v: torch.cat([product(v[:, i : i + 1]) for i, product in enumerate(products)], 1)


def _try_in_turn(
    f: Map,
    at_once: Callable[[], Result],
    row_by_row: Callable[[], Result],
    plainly: Callable[[], Result],
    check: Callable[[Result], None] | None = None,
) -> Result:
    """Take the quickest way that works and passes the check: all points at once, one by one, or by plain autograd."""
    with _differentiable_operations():
        for transform in (at_once, row_by_row):
            # A stranger's code may raise anything under a transform that it was not written for.
            with Attempt(Exception):
                result = transform()
                if check is not None:
                    check(result)
                return result
        found = plainly()
    _announce(f)
    return found


def _announce(f: Map) -> None:
    """Say once for each module and each function of a program that it is measured in the slower way."""
    origin = f.origin if isinstance(f, FlatMap) else f
    # A function that is made anew at each call is still the same place in a program.
    origin = getattr(origin, "__code__", origin)
    try:
        known = origin in _EXPLAINED
        _EXPLAINED.add(origin)
    except TypeError:  # not hashable, or without weak references
        known = False
    if not known:
        name = getattr(origin, "co_name", type(origin).__name__)
        warn_user(
            f"torch.func cannot differentiate {name}, so that plain autograd does, one point at a time: its numbers "
            "are the same, but take longer.",
        )


@contextmanager
def _differentiable_operations() -> Generator[None]:
    """Compute attention by operations that have all derivatives, and hide warnings of torch about its own code."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.jit.script")  # its forward mode
        warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
        yield
