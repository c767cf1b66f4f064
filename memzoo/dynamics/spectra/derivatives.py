"""Differentiate functions of flat rows automatically: Jacobians in full, or products with them, for all points at once.

Forward mode gives one column of a Jacobian at a time, reverse mode one row (Griewank and Walther, Evaluating
Derivatives, chapter 3).
"""

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jacrev, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo._types import Map


class Products(NamedTuple):
    """Products with the Jacobians at a batch of points, for stacks (m, B, dim) of vectors."""

    push: Map
    """J v."""
    pull: Map
    """J^T u."""


def flatten_map(f: Map, shape: Sequence[int]) -> Map:
    """Return ``f`` as a function from one flat row to one flat row; ``shape`` is that of a point."""
    return lambda row: f(row.reshape(1, *shape)).reshape(-1)


def compute_jacobians(f: Map, points: Tensor, tangents: int, *, forward: bool = False) -> Tensor:
    """Compute the Jacobians (B, out, in) of a function of flat rows.

    Args:
        f: Function.
        points: One point a row.
        tangents: Tangents or cotangents of a single point that fit into memory.
        forward: Use forward mode, for a function with fewer inputs than outputs.
    """
    chunk = max(1, tangents // len(points))

    def compute_forward(point: Tensor) -> Tensor:
        identity = torch.eye(len(point), dtype=point.dtype, device=point.device)
        return vmap(lambda v: jvp(f, (point,), (v,))[1], chunk_size=chunk, out_dims=1)(identity)

    with _differentiable_operations():
        try:
            if not forward:
                return vmap(jacrev(f, chunk_size=chunk))(points)
            return vmap(compute_forward)(points)
        except RuntimeError:  # control flow that depends on the data, or no forward mode: one row at a time, reverse
            return torch.stack([jacrev(f, chunk_size=chunk)(point) for point in points])


def pull_back(f: Map, points: Tensor, cotangents: Tensor) -> Tensor:
    """Compute J^T u at each point for its own cotangent u."""

    def pull_row(point: Tensor, cotangent: Tensor) -> Tensor:
        return vjp(f, point)[1](cotangent)[0]

    with _differentiable_operations():
        try:
            return vmap(pull_row)(points, cotangents)
        except RuntimeError:  # control flow that depends on the data
            pairs = zip(points, cotangents, strict=True)
            return torch.stack([pull_row(point, cotangent) for point, cotangent in pairs])


def linearise(f: Map, points: Tensor) -> Products:
    """Evaluate a function of flat rows at each point once, and return the products with its Jacobians.

    J v is the derivative of the linear map u -> J^T u, so that forward mode is not needed.
    """
    return _linearise_batch(vmap(f), points)


def linearise_row_by_row(f: Map, points: Tensor) -> Products:
    """Return the same as :func:`linearise`, row by row if the control flow of ``f`` depends on the data."""
    with _differentiable_operations():
        try:
            return linearise(f, points)
        except RuntimeError:
            single = [_linearise_batch(lambda rows: f(rows[0])[None], row[None]) for row in points]
    pushes, pulls = zip(*single, strict=True)
    return Products(_place_side_by_side(pushes), _place_side_by_side(pulls))


def _linearise_batch(f: Map, points: Tensor) -> Products:
    """Return the products with the Jacobians of a function of a batch of flat rows."""
    pull = vjp(f, points)[1]
    push = vjp(lambda u: pull(u)[0], torch.zeros_like(points))[1]
    return Products(vmap(lambda v: push(v)[0]), vmap(lambda u: pull(u)[0]))


def _place_side_by_side(products: Sequence[Map]) -> Map:
    """Join products of single points to the product of the batch."""
    return lambda v: torch.cat([product(v[:, i : i + 1]) for i, product in enumerate(products)], 1)


@contextmanager
def _differentiable_operations() -> Generator[None]:
    """Compute attention by operations that have all derivatives, and hide warnings of torch about its own code."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.jit.script")  # its forward mode
        warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
        yield
