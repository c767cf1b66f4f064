"""The Jacobians of a self-map, as thin factors, in full or as products alone, checked against the map itself.

The way leads through the files of this folder and of ``tracing``: trace the map, cut it where it is narrowest, form the
factors there, check them by a product of the map itself, and fall back to another way if they fail.
"""

import copy
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Literal, NoReturn

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from memzoo._attempt import Attempt
from memzoo._checks import apply_map
from memzoo._types import Map
from memzoo.dynamics.spectra.arnoldi import MOST_COLUMNS
from memzoo.dynamics.spectra.derivatives import (
    Products,
    compute_jacobians,
    flatten_map,
    linearise,
    linearise_row_by_row,
    linearise_transposed,
    pull_back,
)
from memzoo.dynamics.spectra.differences import compute_jacobians_by_differences
from memzoo.dynamics.spectra.factors import Factors, build_factors, factor_at_cut, factor_at_declared_cut
from memzoo.dynamics.spectra.inexact_factors import build_inexact_factors
from memzoo.dynamics.spectra.plain_autograd import pull_back_batch_by_autograd
from memzoo.dynamics.spectra.proof import Witness, draw_witness
from memzoo.dynamics.spectra.triangular import find_triangular, stretch_derivatives
from memzoo.dynamics.tracing import (
    CastMap,
    TracedGraph,
    cast_map,
    cast_tensors,
    collect_tensors,
    promote_to_float64,
    read_declared_cut,
    trace_bare_operations,
    trace_map,
)
from memzoo.errors import InvalidArgumentError, NonFiniteError

Method = Literal["cut", "arnoldi", "dense", "differences"]
Pull = Callable[[Map, Tensor, Tensor], Tensor]
"""Function that computes the products J^T u of a map at points with vectors."""
METHODS: tuple[Method, ...] = ("cut", "arnoldi", "dense", "differences")
ROWS = 256
"""Rows evaluated at one time."""
CACHE = 2**24
"""Numbers in a batch of tangents; larger batches run no faster."""
TINY = 256
"""Dimension up to which the full Jacobian is cheapest."""
LARGEST_BY_DIFFERENCES = 4096
"""Dimension up to which a Jacobian is formed by differences of the map, column by column."""


def cut_pays(size: int, dim: int) -> bool:
    """Tell whether the eigensolve at a cut, cubic in ``size``, is bearable and smaller than the full one."""
    return size < dim and size <= 1024


class Jacobians:
    """The Jacobians of one map: choose once how they are formed, then form them a block of points at a time.

    Args:
        f: Self-map.
        x: Points; the first shows the shape, type and device.
        method: ``"cut"``, ``"arnoldi"``, ``"dense"`` or ``"differences"``; None chooses.
        memory_limit: Bytes for the factors and tangents in work at one time.
        unit: A length of the problem, for points that have none because all are the origin; 0 if none is known.
    """

    def __init__(self, f: Map, x: Tensor, method: Method | None, memory_limit: int, unit: float = 0.0) -> None:
        if method is not None and method not in METHODS:
            names = ", ".join(map(repr, METHODS))
            raise InvalidArgumentError(f"method must be one of {names} or None (choose), got {method!r}.")
        self.f: Map = f
        self.memory_limit: int = memory_limit
        self.unit: float = unit
        self.wide, points = promote_to_float64(f, x)
        self.points: Tensor = points
        self.dtype: torch.dtype = points.dtype
        self.shape: torch.Size = points.shape[1:]
        self.dim: int = points[0].numel()
        self.device: torch.device = points.device
        if torch.is_grad_enabled() and self.dtype == torch.float64:
            # The parameters of the map that promote_to_float64 returns are detached; a cast keeps their graph.
            self.wide = cast_map(f, torch.float64)
        self.graph: TracedGraph | None = self._trace(points[:1])
        self.declared: tuple[nn.Module, nn.Module] | None = read_declared_cut(f)
        self.eps: float = torch.finfo(self.dtype).eps
        if self.graph is not None:  # a layer inside may compute in less than it is given
            self.eps = max(self.eps, self.graph.eps)
        self.method: Method = method or self._choose_method()
        if method == "cut" and self.width >= self.dim:
            raise InvalidArgumentError(
                f"method='cut' needs a map that is narrower somewhere than its input; {type(f).__name__} is not, or it "
                "cannot be traced and has no method cut() that returns its halves; use method='arnoldi' or 'dense'."
            )
        if method == "differences" and self.dim > LARGEST_BY_DIFFERENCES:
            raise InvalidArgumentError(
                f"method='differences' needs at most {LARGEST_BY_DIFFERENCES} dimensions, got {self.dim}; "
                "use another method."
            )
        self.differentiated: Map = flatten_map(self.wide, self.shape)
        """Function of one flat row whose derivative is taken: the map, or its bare operations."""

    @property
    def width(self) -> int:
        """Return the number of values that cross the narrowest known cut, the dimension if no cut is narrower."""
        traced = self.dim if self.graph is None else self.graph.cut.size
        return min(self.dim, traced, self._declared_width)

    @property
    def affine(self) -> bool:
        """Tell whether one Jacobian holds at all points."""
        return self.method != "differences" and self.graph is not None and self.graph.cut.affine

    def split_into_blocks(self, x: Tensor, *, coarse: bool = False) -> Iterator[Tensor]:
        """Split the row indices of ``x`` into blocks whose work fits into the memory limit.

        Products that are ``coarse`` are reverse products in single precision: they take a quarter of the memory.
        """
        widest = 0 if self.graph is None else self.graph.widest
        if self.method == "cut" and not coarse:
            rows = self._elements // (self.width * max(self.dim, widest))
        elif coarse or self.method == "arnoldi":
            # The basis, its images and a copy of one of them; the graphs of J^T u and of J v hold all values once.
            held = 0 if self.graph is None else sum(self.graph.sizes.values())
            rows = self.memory_limit * (4 if coarse else 1) // (8 * (3 * MOST_COLUMNS * self.dim + 3 * held))
        else:
            rows = self.memory_limit // (8 * 6 * self.dim**2)
        return iter(torch.arange(len(x), device=x.device).split(max(1, rows)))

    def form_factors(self, x: Float[Tensor, "batch *shape"]) -> Factors:
        """Form the Jacobian at each row of ``x``, through a cut that passes the check against the map, else in full."""
        x = x.to(self.dtype)
        f = self.differentiated
        if self.method == "differences":
            found = compute_jacobians_by_differences(self.wide, x)
            return build_inexact_factors(self.eps, found.jacobians, found.error)
        if self.method == "cut":
            for form, pull in self._list_ways_through_a_cut(x):
                with Attempt(RuntimeError):  # a trace of one row may fail for many
                    factors = form()
                    if draw_witness(f, x.flatten(1), pull).confirms_factors(factors, self.eps):
                        return factors
            if self.declared is not None:
                self._refuse_declared_cut(self.declared, x)
            self.method = "dense"  # no cut passes the check
        return build_factors(self.eps, compute_jacobians(f, x.flatten(1), self._tangents))

    def form_products(self, x: Float[Tensor, "batch *shape"]) -> Products:
        """Return the products J v and J^T u for stacks (m, B, dim), without forming a Jacobian.

        The map is evaluated once; each product then costs one or two evaluations.
        """
        points = x.to(self.dtype).flatten(1)
        f = self.differentiated
        if self.graph is not None:
            witness = draw_witness(f, points)
            with Attempt(RuntimeError):  # an operation of the trace may have no batching rule
                products = self._linearise_graph(self.graph, points)
                if witness.confirms_product(products.pull, self.eps):
                    return products
            self.graph = None  # the trace does not hold at these points
        return linearise_row_by_row(f, points)

    def form_coarse_products(self, x: Float[Tensor, "batch *shape"], dtype: torch.dtype) -> Products | None:
        """Return the same products in another type, of a trace that :meth:`form_products` has confirmed at ``x``.

        They are None where the constants of the map cannot be cast.
        """
        if self.graph is None or not isinstance(self.f, nn.Module):
            return None
        with Attempt(RuntimeError):  # tensors of a module that are no parameters
            return self._linearise_graph(self.graph, x.to(dtype).flatten(1))
        return None

    def form_coarse_pull(self, x: Float[Tensor, "batch *shape"], dtype: torch.dtype) -> Map | None:
        """Return the products J^T u in another type; None if the map was not traced, or its constants cannot be cast.

        The trace may not hold at these points: whoever takes the products compares them with the map.
        """
        if self.graph is None or not isinstance(self.f, nn.Module):
            return None
        flat = self.graph.extract_flat(cast_tensors(self._constants, dtype), [self.graph.source], [self.graph.target])
        with Attempt(RuntimeError):  # tensors of a module that are no parameters, or an operation without batching rule
            return linearise_transposed(flat, x.to(dtype).flatten(1))
        return None

    def draw_witness(self, x: Float[Tensor, "batch *shape"]) -> Witness:
        """Draw random cotangents, and multiply them by the transposed Jacobians by the map itself."""
        return draw_witness(self.differentiated, x.to(self.dtype).flatten(1))

    def find_finite(self, x: Float[Tensor, "batch *shape"]) -> Bool[Tensor, " batch"]:
        """Find the points where a random product with the Jacobian, and so almost surely the Jacobian, is finite."""
        return self.draw_witness(x).images.isfinite().all(1)

    def find_triangular(self, x: Float[Tensor, "batch *shape"]) -> Bool[Tensor, " batch"]:
        """Find the points where the Jacobian is triangular in some order of the coordinates, whatever its rounding.

        False also where that cannot be seen: without a trace that holds at these points.
        """
        points = x.to(self.dtype).flatten(1)
        unknown = torch.zeros(len(x), dtype=torch.bool, device=self.device)
        if self.graph is None or self.method == "differences":
            return unknown
        with Attempt(RuntimeError):  # an operation of the trace may have no batching rule
            witness = draw_witness(self.differentiated, points)
            if witness.confirms_product(self._linearise_graph(self.graph, points).pull, self.eps):
                stretched = stretch_derivatives(self.graph, self._constants)
                return find_triangular(compute_jacobians(stretched, points, self._tangents))
        return unknown

    def evaluate_flat(self, points: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Evaluate the map at flat points in the arithmetic of the Jacobians."""
        return self.wide(points.reshape(-1, *self.shape)).flatten(1).to(points.dtype)

    def form_push(self, points: Float[Tensor, "batch dim"]) -> Map:
        """Return the product J v at flat points."""
        x = points.reshape(-1, *self.shape)
        if self.method == "differences":
            return self.form_factors(x).push
        return self.form_products(x).push

    def list_alternatives(self) -> "Iterator[Jacobians]":
        """Offer other ways to the Jacobians, for a map whose derivative by autograd is not its own.

        The operations of the trace have their own derivatives, whatever the program told autograd about them.
        Differences need no derivative at all.
        """
        graph = trace_bare_operations(self.f, self.points[:1].detach(), self._constants)
        if graph is not None and self.method != "differences":
            bare = copy.copy(self)
            bare.graph = graph
            bare.declared = None
            bare._declared_width = self.dim
            bare.differentiated = graph.extract_flat(self._constants, [graph.source], [graph.target])
            bare.method = bare._choose_method()
            if self.method == "dense" and bare.method == "arnoldi":
                bare.method = "dense"  # all eigenvalues are wanted
            yield bare
        if self.dim <= LARGEST_BY_DIFFERENCES and self.method != "differences":
            numeric = copy.copy(self)
            numeric.method = "differences"
            yield numeric

    @cached_property
    def _constants(self) -> dict[str, Tensor]:
        """Collect the parameters and buffers of ``f`` in the type of the Jacobians, with their autograd graph."""
        if isinstance(self.wide, CastMap) and self.dtype == torch.float64:
            return self.wide.tensors
        return collect_tensors(self.f)

    @cached_property
    def _declared_width(self) -> int:
        """Count the values that cross the declared cut, the dimension if there is none."""
        if self.declared is None:
            return self.dim
        row = torch.zeros(1, *self.shape, dtype=self.dtype, device=self.device)
        with torch.no_grad():
            return cast_map(self.declared[0], self.dtype)(row).numel()

    @property
    def _elements(self) -> int:
        """Return how many numbers go into one batch: they fit into memory, and not far beyond the cache."""
        return min(self.memory_limit // (8 * 6), CACHE)

    @property
    def _tangents(self) -> int:
        """Return how many tangents or cotangents at one point go into one batch."""
        return self._elements // (self.dim if self.graph is None else max(self.dim, self.graph.widest))

    def _trace(self, row: Tensor, *, ignore_cache: bool = False) -> TracedGraph | None:
        return trace_map(self.f, row.detach(), self._constants, ignore_cache=ignore_cache)

    def _choose_method(self) -> Method:
        if cut_pays(self.width, self.dim):
            return "cut"
        return "dense" if self.dim <= TINY else "arnoldi"

    def _list_ways_through_a_cut(self, x: Tensor) -> Iterator[tuple[Callable[[], Factors], Pull]]:
        """Offer the narrowest cut first, and with each way the products that it has to be confirmed by.

        One pass of plain autograd through the whole map confirms all factors at once. If it does not, each factor is
        checked by itself; then the map is traced once more, because the module may have changed.
        """
        if self.graph is not None and self.graph.cut.size == self.width:
            yield partial(self._factor_at_traced_cut, self.graph, x, checked=False), pull_back_batch_by_autograd
            yield partial(self._factor_at_traced_cut, self.graph, x), pull_back
            self.graph = self._trace(x[:1], ignore_cache=True)
            if self.graph is not None and self.graph.cut.size < self.dim:
                yield partial(self._factor_at_traced_cut, self.graph, x), pull_back
            self.graph = None
        if self.declared is not None:
            encode, decode = (cast_map(half, self.dtype) for half in self.declared)
            yield partial(factor_at_declared_cut, encode, decode, x, self._tangents, self.eps), pull_back

    def _factor_at_traced_cut(self, graph: TracedGraph, x: Tensor, *, checked: bool = True) -> Factors:
        return factor_at_cut(graph, self._constants, x.flatten(1), self._tangents, self.eps, checked=checked)

    def _linearise_graph(self, graph: TracedGraph, points: Tensor) -> Products:
        """Linearise the traced map in the type of ``points``."""
        constants = self._constants if points.dtype == self.dtype else cast_tensors(self._constants, points.dtype)
        return linearise(graph.extract_flat(constants, [graph.source], [graph.target]), points)

    def _refuse_declared_cut(self, declared: tuple[nn.Module, nn.Module], x: Tensor) -> NoReturn:
        """Raise the error for halves that do not make up the map."""
        encode, decode = (cast_map(half, self.dtype) for half in declared)
        gap = (self.wide(x) - decode(encode(x))).abs().max()
        raise InvalidArgumentError(
            f"cut() of {type(self.f).__name__} is wrong: g(h(x)) differs from f(x) by up to {gap:.2g}, or has another "
            "Jacobian; every path must pass through the cut, skip connections too."
        )


def refuse_non_finite(finite: Bool[Tensor, " batch"], rows: Tensor) -> None:
    """Raise an error that names the first point whose Jacobian is not finite, if there is one."""
    if not finite.all():
        row = int(rows[int((~finite).nonzero()[0])])
        raise NonFiniteError(
            f"the Jacobian at row {row} holds NaN or infinity: f is not differentiable there or overflows; look at "
            "f(x) of this row."
        )


def check_differentiable_self_map(f: Map, x: Tensor) -> None:
    """Evaluate ``f`` once, and check that it keeps the shape and that its output is finite."""
    with torch.no_grad():
        finite = torch.cat([apply_map(f, rows.clone()).isfinite().flatten(1).all(1) for rows in x.split(ROWS)])
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise NonFiniteError(f"f(x) holds NaN or infinity at row {row}: f overflows there; scale x as in training.")
