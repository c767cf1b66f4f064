"""Iterate a map whose last layers are affine in the coordinates of the subspace that those layers can reach."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.func import vmap

from memzoo._attempt import Attempt
from memzoo._checks import check_map
from memzoo._types import Map
from memzoo.dynamics.tracing.affine_rounding import AffineRounding, bound_rounding_of_ending
from memzoo.dynamics.tracing.precision import cast_map, cast_tensors, collect_constants, promote_to_float64
from memzoo.dynamics.tracing.traced_graph import TracedGraph, trace_map
from memzoo.dynamics.tracing.widened import leave_no_trace

BLOCK = 4096
"""Rows in float64 at one time."""
PAYS = 0.5
"""Latent coordinates are used if their number is at most this share of the dimension."""


@dataclass(frozen=True)
class OutputRange:
    """The affine subspace ``centre + span(basis)`` that holds every f(x); float64."""

    basis: Float[Tensor, "dim k"]
    """Orthonormal columns."""
    centre: Float[Tensor, " dim"]
    """Its point nearest to the origin, orthogonal to the basis."""
    shift: Float[Tensor, " k"]
    """Coordinates of f(x) where the affine layers are given zero."""
    rounding: AffineRounding | None = None
    """What bounds the rounding of the affine layers; None if it is not known."""

    def coordinates(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch k"]:
        """Compute the coordinates of the nearest point of the subspace; within it they keep all distances."""
        return torch.cat([part.double() @ self.basis for part in x.flatten(1).split(BLOCK)])

    def offset(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
        """Compute the L2 distance of each row to the subspace: no exact orbit comes nearer to it at any t >= 1."""
        distances: list[Tensor] = []
        for part in x.flatten(1).split(BLOCK):
            flat = part.double()
            outside = flat - self.centre - flat @ self.basis @ self.basis.mT
            distances.append(torch.linalg.vector_norm(outside, dim=1))
        return torch.cat(distances)

    def bound_rounding(
        self, x: Float[Tensor, "batch *shape"], reach: Float[Tensor, " batch"], unit: float
    ) -> Float[Tensor, " batch"]:
        """Bound how far outside the subspace a computed f(x) within ``reach`` of each row can lie, by rounding.

        Args:
            x: Points.
            reach: L2 distance from each.
            unit: Unit of rounding of the arithmetic of ``f``.

        Returns:
            The distances, L2; infinity where none is known.
        """
        if self.rounding is None:
            return torch.full_like(reach, torch.inf)
        bias = self.centre + self.basis @ self.shift
        blocks = zip(x.flatten(1).split(BLOCK), reach.split(BLOCK), strict=True)
        return torch.cat([self.rounding.bound(part.double() - bias, near, unit) for part, near in blocks])


@dataclass(frozen=True)
class LatentMap:
    """``f`` in coordinates y of its output range: the orbit of f is the lifted orbit of ``step``."""

    range: OutputRange
    first: Map
    """From any point x to the coordinates of f(x)."""
    step: Map
    """From the coordinates of x to those of f(x)."""
    shape: torch.Size

    def lift(self, y: Float[Tensor, "batch k"]) -> Float[Tensor, "batch *shape"]:
        """Return the points of these coordinates."""
        flat = y @ self.range.basis.mT.to(y.dtype) + self.range.centre.to(y.dtype)
        return flat.reshape(-1, *self.shape)


@leave_no_trace
@torch.no_grad()
def output_range(f: Map, x: Float[Tensor, "batch *shape"]) -> OutputRange | None:
    """Find the subspace that the affine last layers of ``f`` can reach.

    None if these layers are as wide as the input, or if f cannot be traced.

    Cost: one product for each unit before the affine layers, and a QR factorisation.
    """
    check_map(*promote_to_float64(f, x))
    wide = cast_map(f, torch.float64)
    for ignore_cache in (False, True):  # a module may have changed since it was traced
        ending = _find_affine_ending(f, x, ignore_cache=ignore_cache)
        if ending is None:
            return None
        with Attempt(RuntimeError, TypeError):
            images = wide(x[:8].double()).double().flatten(1)
            if (ending.range.offset(images) <= 1e-5 * images.norm(dim=1)).all():
                rounding = bound_rounding_of_ending(ending.graph, ending.constants, ending.matrix)
                return replace(ending.range, rounding=rounding)
    return None


@leave_no_trace
@torch.no_grad()
def latent_map(f: Map, x: Float[Tensor, "batch *shape"]) -> LatentMap | None:
    """Return ``f`` in latent coordinates if its first and last layers are affine and narrow inside; otherwise None.

    The last layer and the first one are fused into one k x k matrix, so that a step never forms a point. The result is
    compared with ``f`` itself on the rows of ``x`` in float64 before it is used.
    """
    check_map(*promote_to_float64(f, x))
    ending = _find_affine_ending(f, x)
    if ending is None:
        return None
    cut = ending.graph.cut
    width = max(ending.graph.sizes[cut.entry], ending.range.basis.shape[1])
    if cut.affine or width > PAYS * x[0].numel():
        return None
    matrix, bias = _form_affine_part(ending.graph, ending.constants, ending.graph.source, cut.entry)
    # With x = Q y + c, the entry E x + e is (E Q) y + (E c + e).
    fused = matrix @ ending.range.basis
    fused_bias = bias + matrix @ ending.range.centre

    def build(dtype: torch.dtype, *, batched: bool) -> LatentMap:
        inner = _extract_inner_layers(ending, dtype, batched=batched)
        tensors = (matrix, bias, fused, fused_bias, ending.triangle, ending.shift)
        from_x, from_x_bias, from_y, from_y_bias, triangle, shift = (tensor.to(dtype) for tensor in tensors)
        return LatentMap(
            range=ending.range,
            first=lambda points: torch.addmm(
                shift, inner(torch.addmm(from_x_bias, points.flatten(1), from_x.mT)), triangle.mT
            ),
            step=lambda y: torch.addmm(shift, inner(torch.addmm(from_y_bias, y, from_y.mT)), triangle.mT),
            shape=x.shape[1:],
        )

    for batched in (True, False):  # perceptrons take all rows at once, other graphs hold the shape of one row
        with Attempt(RuntimeError):
            if _agrees(build(torch.float64, batched=batched), cast_map(f, torch.float64), x[:8].double()):
                return build(x.dtype, batched=batched)
    return None


def _agrees(latent: LatentMap, f: Map, x: Tensor) -> bool:
    """Tell whether the lifted orbit of a few points is the orbit of ``f`` for two steps."""
    y = latent.first(x)
    pairs = ((latent.lift(y), f(x)), (latent.lift(latent.step(y)), f(latent.lift(y))))
    return all(ours.shape == true.shape and bool((ours - true).norm() <= 1e-9 * true.norm()) for ours, true in pairs)


@dataclass(frozen=True)
class _AffineEnding:
    """The affine last layers M z + b of a traced map; float64.

    With the factorisation M = Q R and s = Q^T b the layers are Q (R z + s) + (b - Q s), so the coordinates of f(x) in
    the basis Q are R z + s.
    """

    graph: TracedGraph
    constants: dict[str, Tensor]
    matrix: Tensor
    """M."""
    range: OutputRange
    triangle: Tensor
    """R."""
    shift: Tensor
    """s."""


def _find_affine_ending(f: Map, x: Tensor, *, ignore_cache: bool = False) -> _AffineEnding | None:
    """Find the affine last layers of ``f`` in its traced graph; None if they are not narrower than the input."""
    constants = collect_constants(f, torch.float64)
    graph = trace_map(f, x[:1].double(), constants, ignore_cache=ignore_cache)
    if graph is None or graph.sizes[graph.cut.exit] >= x[0].numel():
        return None
    matrix = bias = None
    with Attempt(RuntimeError):
        matrix, bias = _form_affine_part(graph, constants, graph.cut.exit, graph.target)
    if matrix is None or bias is None:
        return None
    if not (matrix.isfinite().all() and bias.isfinite().all()):
        return None
    basis, triangle = torch.linalg.qr(matrix)
    shift = basis.mT @ bias
    subspace = OutputRange(basis, bias - basis @ shift, shift)
    return _AffineEnding(graph, constants, matrix, subspace, triangle, shift)


def _form_affine_part(
    graph: TracedGraph, constants: dict[str, Tensor], start: fx.Node, end: fx.Node
) -> tuple[Tensor, Tensor]:
    """Compute the matrix and the bias of an affine part of the graph."""
    function = vmap(graph.extract_flat(constants, [start], [end]))
    sample = next((tensor for tensor in constants.values() if tensor.is_floating_point()), torch.empty(0))
    identity = torch.eye(graph.sizes[start], dtype=torch.float64, device=sample.device)
    bias = function(torch.zeros_like(identity[:1]))[0]
    return (function(identity) - bias).mT, bias


def _extract_inner_layers(ending: _AffineEnding, dtype: torch.dtype, *, batched: bool) -> Map:
    """Extract the layers between the affine first and last ones, for all rows in one call or row by row."""
    constants = cast_tensors(ending.constants, dtype)
    cut = ending.graph.cut
    if not batched:
        return vmap(ending.graph.extract_flat(constants, [cut.entry], [cut.exit]))
    function = ending.graph.extract(constants, [cut.entry], [cut.exit])
    return lambda z: function(z)[0]
