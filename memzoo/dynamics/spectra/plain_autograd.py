"""Differentiate maps by the autograd of every training, for modules that the transforms of ``torch.func`` cannot take.

Custom functions in the old style, gradient checkpointing, hooks, solvers that step as the data wants, and operations
without a batching rule all work in an ordinary forward and backward pass. The points are taken one after another, so
that control flow may depend on them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from memzoo._attempt import Attempt, is_out_of_memory
from memzoo._types import Map
from memzoo.dynamics.spectra.flat_map import FlatMap
from memzoo.dynamics.spectra.products import Products
from memzoo.errors import MemzooError, NotDifferentiableError

SAME = 1e3
"""Units in the last place by which an output may change when its row is evaluated among copies of itself."""
ADJOINT = 0.25
"""Share of the digits to which the products with J and with its transpose must fit together."""
MOST_BYTES = 2**30
"""Bytes of the full Jacobians from which products alone are computed."""
Result = TypeVar("Result")


def compute_jacobians_by_autograd(f: Map, points: Tensor, tangents: int) -> Tensor:
    """Compute the Jacobians (B, out, in) of a function of flat rows by plain reverse mode, point by point.

    Args:
        f: Function.
        points: One point a row.
        tangents: Copies of a point that are evaluated and differentiated at one time, one for each output.

    Raises:
        NotDifferentiableError: Autograd cannot differentiate ``f``, or ``f`` hides its input from autograd.
    """
    return torch.stack([_call(f, lambda point=point: _compute_jacobian(f, point, tangents)) for point in points])


def pull_back_by_autograd(f: Map, points: Tensor, cotangents: Tensor) -> Tensor:
    """Compute J^T u at each point for its own cotangent u by plain reverse mode, point by point."""

    def pull_row(point: Tensor, cotangent: Tensor) -> Tensor:
        leaf, image = _evaluate(f, point)
        return _pull(f, leaf, image, cotangent)

    pairs = zip(points, cotangents, strict=True)
    return torch.stack([_call(f, lambda p=point, u=cotangent: pull_row(p, u)) for point, cotangent in pairs])


def pull_back_batch_by_autograd(f: Map, points: Tensor, cotangents: Tensor) -> Tensor:
    """Compute the same in one pass through a batch of all points, without the derivatives of ``torch.func``.

    A function that knows no batches is evaluated by ``vmap``. Control flow must not depend on the other points.
    """
    function = f.map_batch if isinstance(f, FlatMap) else torch.func.vmap(f, randomness="same")

    def pull_all() -> Tensor:
        leaf = points.detach().clone().requires_grad_()
        with torch.enable_grad():
            images = function(leaf.clone())
        return _pull(f, leaf, images, cotangents, create_graph=False)

    return _call(f, pull_all)


def linearise_by_autograd(f: Map, points: Tensor) -> Products:
    """Evaluate a function of flat rows at each point once, and return the products with its Jacobians.

    J v is the derivative of the linear map u -> J^T u. Where a backward pass cannot be differentiated, the Jacobians
    are formed if they fit into memory.

    Raises:
        NotDifferentiableError: The Jacobians would have to be formed and are too large.
    """
    try:
        single = [_call(f, lambda point=point: _linearise_row(f, point)) for point in points]
    except NotDifferentiableError:
        if points.numel() * points.shape[1] * points.element_size() > MOST_BYTES:
            raise
        return _multiply_by(compute_jacobians_by_autograd(f, points, len(points[0])))
    return _join_products(single)


def _multiply_by(jacobians: Tensor) -> Products:
    """Return the products with Jacobians that are known in full."""
    return Products(
        lambda v: torch.einsum("bij,mbj->mbi", jacobians, v),
        lambda u: torch.einsum("bij,mbi->mbj", jacobians, u),
        lambda rows: _multiply_by(jacobians[rows]),
    )


def _call(f: Map, function: Callable[[], Result]) -> Result:
    """Call a function while ``f`` holds its tensors; raise one error for all that keeps autograd from working."""
    try:
        with torch.inference_mode(False):
            return f.run(function) if isinstance(f, FlatMap) else function()
    except MemzooError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise NotDifferentiableError(
            f"{_name(f)} cannot be differentiated by autograd ({_quote(error)}); use method='differences'."
        ) from error


def _describe_hidden(f: Map) -> str:
    """Word the error for a map whose output has no graph that leads to its input."""
    return (
        f"{_name(f)} hides its input from autograd (no_grad, detach or another library inside): its derivative by "
        "autograd is not that of the map; use method='differences'."
    )


def _name(f: Map) -> str:
    """Name the map for a message."""
    origin = f.origin if isinstance(f, FlatMap) else f
    return getattr(origin, "__name__", type(origin).__name__)


def _quote(error: Exception) -> str:
    """Quote the beginning of an error."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:100]}"


def _evaluate(f: Map, point: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate a function at a point or a batch of copies; return the leaf of the autograd graph and the images."""
    leaf = point.detach().clone().requires_grad_()
    function = f.map_batch if leaf.ndim > 1 and isinstance(f, FlatMap) else f
    with torch.enable_grad():
        return leaf, function(leaf.clone())  # a leaf must not be changed in place


def _pull(f: Map, leaf: Tensor, images: Tensor, cotangents: Tensor, *, create_graph: bool | None = None) -> Tensor:
    """Compute J^T u from the graph of an evaluation, which is kept."""
    if not images.requires_grad:
        raise NotDifferentiableError(_describe_hidden(f))
    differentiable = torch.is_grad_enabled() if create_graph is None else create_graph
    try:
        (gradient,) = torch.autograd.grad(
            images, leaf, cotangents, retain_graph=True, create_graph=differentiable, allow_unused=True
        )
    except RuntimeError:
        # The older kind of checkpointing only works in a backward pass through the whole graph.
        if not (isinstance(f, FlatMap) and f.detached):
            raise
        leaf.grad = None
        images.backward(cotangents, retain_graph=True)
        gradient = leaf.grad
    if gradient is None:
        raise NotDifferentiableError(_describe_hidden(f))
    return gradient


def _compute_jacobian(f: Map, point: Tensor, tangents: int) -> Tensor:
    """Compute the Jacobian at one point, many rows of it from one batch of copies of the point where that works."""
    leaf, image = _evaluate(f, point)
    identity = torch.eye(len(image), dtype=image.dtype, device=image.device)
    if isinstance(f, FlatMap) and tangents > 1 and len(image) > 1:
        parts: list[Tensor | None] = []
        with Attempt(Exception):  # a map of single rows may raise anything
            parts = [_pull_copies(f, point, image, part) for part in identity.split(tangents)]
        if parts and all(part is not None for part in parts):
            return torch.cat([part for part in parts if part is not None])
    return torch.stack([_pull(f, leaf, image, cotangent) for cotangent in identity])


def _pull_copies(f: FlatMap, point: Tensor, image: Tensor, cotangents: Tensor) -> Tensor | None:
    """Compute J^T u for many u from a batch of copies of a point; None if the map is another one on a batch."""
    leaf, images = _evaluate(f, point.expand(len(cotangents), -1))
    room = SAME * torch.finfo(image.dtype).eps * image.detach().abs().max()
    if ((images.detach() - image.detach()).abs() > room).any():  # control flow that depends on the number of rows
        return None
    return _pull(f, leaf, images, cotangents)


def _linearise_row(f: Map, point: Tensor) -> tuple[Map, Map]:
    """Return the products J v and J^T u at one point, each for a stack of vectors."""
    leaf, image = _evaluate(f, point)
    dual = torch.zeros_like(image).requires_grad_()
    with torch.enable_grad():
        transposed = _pull(f, leaf, image, dual, create_graph=True)

    def push(v: Tensor) -> Tensor:
        return torch.stack([_call(f, lambda row=row: _pull(f, dual, transposed, row)) for row in v])

    def pull(u: Tensor) -> Tensor:
        return torch.stack([_call(f, lambda row=row: _pull(f, leaf, image, row)) for row in u])

    _check_adjoint(f, point, image, push, pull)
    return push, pull


def _check_adjoint(f: Map, point: Tensor, image: Tensor, push: Map, pull: Map) -> None:
    """Check that <u, J v> = <J^T u, v>: a backward pass that leaves autograd has no right derivative itself."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(1, len(point), generator=generator, dtype=torch.float64).to(point)
    u = torch.randn(1, len(image), generator=generator, dtype=torch.float64).to(point)
    pushed = push(v)
    pulled = pull(u)
    gap = ((u * pushed).sum() - (pulled * v).sum()).abs()
    size = u.norm() * pushed.norm() + pulled.norm() * v.norm()
    if gap > torch.finfo(point.dtype).eps ** ADJOINT * size:
        raise NotDifferentiableError(f"the backward pass of {_name(f)} cannot be differentiated; use method='dense'.")


def _join_products(single: Sequence[tuple[Map, Map]]) -> Products:
    """Join the products at single points, each for a stack of vectors, to those of the batch."""
    pushes, pulls = zip(*single, strict=True)
    return Products(
        _stack_products(pushes),
        _stack_products(pulls),
        lambda rows: _join_products([single[row] for row in rows.tolist()]),
    )


def _stack_products(products: tuple[Map, ...]) -> Map:
    """Join products of single points, each for a stack of vectors, to the product of the batch."""
    return lambda v: torch.stack([product(v[:, i]) for i, product in enumerate(products)], 1)
