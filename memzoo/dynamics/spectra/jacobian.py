"""Jacobians of a self-map: formed through its narrowest place or as products alone, checked against the map itself."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, fx, nn
from torch.func import jacfwd, jacrev, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo._checks import apply_map
from memzoo._types import Map
from memzoo.dynamics.spectra.arnoldi import MOST
from memzoo.dynamics.spectra.factors import Factors, factored
from memzoo.dynamics.tracing import Anatomy, anatomy, declared_cut, in_dtype, narrow_enough, tensors_of, traced, widened
from memzoo.errors import InvalidArgumentError, NonFiniteError

Method = Literal["cut", "arnoldi", "dense"]
ROWS = 256  # evaluated at one time
CACHE = 2**24  # numbers; larger batches of tangents run no faster
TINY = 256  # below this dimension the full Jacobian is cheapest


class Jacobians:
    """The Jacobians of one map: chooses once how they are formed, then forms them a block of points at a time.

    Args:
        f: Self-map.
        x: Points; the first shows the shape, type and device.
        method: ``"cut"``, ``"arnoldi"`` or ``"dense"``; None chooses.
        memory_limit: Bytes for the factors and tangents in work at one time.
    """

    f: Map
    memory_limit: int
    wide: Map
    dtype: torch.dtype
    shape: torch.Size
    dim: int

    def __init__(self, f: Map, x: Tensor, method: Method | None, memory_limit: int) -> None:
        if method not in (None, "cut", "arnoldi", "dense"):
            raise InvalidArgumentError(f"method must be 'cut', 'arnoldi', 'dense' or None (choose), got {method!r}.")
        self.f, self.memory_limit = f, memory_limit
        self.wide, points = widened(f, x)
        if torch.is_grad_enabled() and points.dtype == torch.float64:
            self.wide = in_dtype(f, torch.float64)  # whose parameters keep their graph
        self.dtype, self.shape, self.dim = points.dtype, points.shape[1:], points[0].numel()
        self.device: torch.device = points.device
        self.declared: tuple[nn.Module, nn.Module] | None = declared_cut(f)
        self.anatomy = self._traced(points[:1])
        self.eps: float = torch.finfo(self.dtype).eps
        if self.anatomy is not None:  # a layer inside may compute in less than it is given
            self.eps = max(self.eps, self.anatomy.program.eps)
        self.method: Method = method or self._cheapest(points[:1])
        if method == "cut" and self._width(points[:1]) is None:
            raise InvalidArgumentError(
                f"method='cut' needs a map that is narrower somewhere than its input; {type(f).__name__} is not, or it "
                "cannot be traced and has no method cut() that returns its halves; use method='arnoldi' or 'dense'."
            )

    def _constants(self) -> dict[str, Tensor]:
        return {
            name: tensor.to(self.dtype) if tensor.is_floating_point() and self.dtype == torch.float64 else tensor
            for name, tensor in tensors_of(self.f).items()
        }

    def _traced(self, row: Tensor, *, afresh: bool = False) -> Anatomy | None:
        program = traced(self.f, row.detach(), self._constants(), afresh=afresh)
        return None if program is None else anatomy(program)

    def _width(self, row: Tensor) -> int | None:
        """Numbers that cross the narrowest cut known, None where it is no narrower than the input."""
        widths = [self.dim]
        if self.anatomy is not None:
            widths.append(self.anatomy.size)
        if self.declared is not None:
            with torch.no_grad():
                widths.append(in_dtype(self.declared[0], self.dtype)(row).numel())
        return min(widths) if min(widths) < self.dim else None

    def _cheapest(self, row: Tensor) -> Method:
        width = self._width(row)
        if width is not None and narrow_enough(width, self.dim):
            return "cut"
        return "dense" if self.dim <= TINY else "arnoldi"

    @property
    def width(self) -> int:
        """Numbers that cross the narrowest cut; the dimension where there is none."""
        row = torch.zeros(1, *self.shape, dtype=self.dtype, device=self.device)
        return self._width(row) or self.dim

    @property
    def affine(self) -> bool:
        """One Jacobian serves all points."""
        return self.anatomy is not None and self.anatomy.affine

    def blocks(self, x: Tensor) -> Iterator[Tensor]:
        """Row indices of ``x`` in blocks whose work fits into the memory limit."""
        widest = 0 if self.anatomy is None else self.anatomy.program.widest
        if self.method == "cut":
            rows = self._fitting((self._width(x[:1].to(self.dtype)) or self.dim) * max(self.dim, widest))
        elif self.method == "arnoldi":  # basis and images, and what the graph holds
            rows = self.memory_limit // (8 * (2 * MOST * self.dim + 40 * widest))
        else:
            rows = self.memory_limit // (8 * 6 * self.dim**2)
        return iter(torch.arange(len(x), device=x.device).split(max(1, rows)))

    def _fitting(self, numbers: int) -> int:
        """How many batches of so many numbers go together: all in memory, and not far beyond the cache."""
        return max(1, min(self.memory_limit // (8 * 6), CACHE) // numbers)

    # Through a cut, or in full ----------------------------------------------------------------------------------------

    def factors(self, x: Float[Tensor, "batch *shape"]) -> Factors:
        r"""Factors at each row of ``x``, verified by one reverse product of the map itself.

        With :math:`f = g \circ h`: :math:`J_f(x) = J_g(h(x)) J_h(x)`, ``h`` linearised at ``x`` and ``g`` at ``h(x)``,
        so the product is the Jacobian at every point and not only at fixed points.
        """
        x = x.to(self.dtype)
        if self.method == "cut":
            for attempt in self._cuts(x[:1]):
                with suppress(RuntimeError):  # what a trace of one row cannot do for many
                    factors = attempt(x)
                    if self._holds(factors, x):
                        return factors
            if self.declared is not None:
                self._refuse(x)
            self.method = "dense"  # no cut holds
        return factored(self.eps, self._jacobian(self._row(self.wide), x.flatten(1), jacrev))

    def _cuts(self, row: Tensor) -> Iterator[Callable[[Tensor], Factors]]:
        """Ways through a cut, the narrowest first; a trace that fails is made once more, should the module be new."""
        width = self._width(row)
        if self.anatomy is not None and self.anatomy.size == width:
            yield self._through_trace
            self.anatomy = self._traced(row, afresh=True)
            if self.anatomy is not None and self.anatomy.size < self.dim:
                yield self._through_trace
            self.anatomy = None
        if self.declared is not None:
            yield self._through_declared

    def _through_trace(self, x: Tensor) -> Factors:
        plan = self.anatomy
        assert plan is not None
        program, constants = plan.program, self._constants()
        x = x[:1] if plan.affine else x
        entry = plan.entry if (program.size(plan.entry) or 0) <= 2 * plan.size else program.source
        exit_ = plan.exit if (program.size(plan.exit) or 0) <= 2 * plan.size else program.target

        def stretch(sources: Sequence[fx.Node], targets: Sequence[fx.Node]) -> Map:
            """One row of flat numbers to one row of flat numbers."""
            run, shapes = program.run(constants, sources, targets), [program.shape(node) for node in sources]

            def flat(row: Tensor) -> Tensor:
                parts = row.split([math.prod(shape) for shape in shapes])
                values = run(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))
                return torch.cat([value.reshape(-1) for value in values])

            return flat

        inward, outward = stretch([program.source], [entry]), stretch([exit_], [program.target])
        points = x.flatten(1)
        entered = vmap(inward)(points)
        outer_right = None if entry is program.source else self._jacobian(inward, points[:1], jacrev)[0]
        right, waist = None, entered
        if plan.waist != (entry,):
            narrowing = stretch([entry], plan.waist)
            waist, right = vmap(narrowing)(entered), self._jacobian(narrowing, entered, jacrev)
        widening = stretch(plan.waist, [exit_])
        if plan.waist == (exit_,):
            left = torch.eye(waist.shape[1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
        else:
            left = self._jacobian(widening, waist, jacfwd)
        outer_left = None
        if exit_ is not program.target:
            outer_left = self._jacobian(outward, vmap(widening)(waist)[:1], jacfwd)[0]
        return factored(self.eps, left, right, outer_left, outer_right)

    def _through_declared(self, x: Tensor) -> Factors:
        assert self.declared is not None
        encode, decode = (in_dtype(half, self.dtype) for half in self.declared)
        latent = encode(x)

        def widening(row: Tensor) -> Tensor:
            return decode(row.reshape(1, *latent.shape[1:])).reshape(-1)

        left = self._jacobian(widening, latent.flatten(1), jacfwd)
        return factored(self.eps, left, self._jacobian(self._row(encode), x.flatten(1), jacrev))

    def _row(self, f: Map) -> Map:
        """``f`` on one row of flat numbers."""
        return lambda row: f(row.reshape(1, *self.shape)).reshape(-1)

    def _jacobian(self, row: Map, points: Tensor, transform: Callable[..., Map]) -> Tensor:
        """Jacobians (B, out, in) of a map of flat rows; tangents or cotangents in chunks that fit into memory."""
        widest = self.dim if self.anatomy is None else max(self.dim, self.anatomy.program.widest)
        chunk = self._fitting(widest * len(points))
        with _plain():
            try:
                if transform is jacrev:
                    return vmap(jacrev(row, chunk_size=chunk))(points)
                identity = torch.eye(points.shape[1], dtype=points.dtype, device=points.device)

                def forward(point: Tensor) -> Tensor:
                    return vmap(lambda v: jvp(row, (point,), (v,))[1], chunk_size=chunk, out_dims=1)(identity)

                return vmap(forward)(points)
            except RuntimeError:  # control flow that depends on the data, no forward mode: one row at a time, reverse
                return torch.stack([jacrev(row, chunk_size=chunk)(point) for point in points])

    def _holds(self, factors: Factors, x: Tensor) -> bool:
        """Do the factors give J^T u for a random u? A wrong Jacobian passes with probability zero."""
        u, true = self._probe(x)
        ours = factors.pull(u[:, :, None]).squeeze(-1)
        size = torch.linalg.matrix_norm(factors.left)
        for factor in (factors.right, factors.outer_left, factors.outer_right):
            size = size if factor is None else size * torch.linalg.matrix_norm(factor)
        return bool((~factors.finite | _equal(ours, true, size * self.dim**0.5, self.eps)).all())

    def _probe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Random cotangents u (B, dim) and J^T u by the map itself, row by row."""
        generator = torch.Generator().manual_seed(0)
        u = torch.randn(len(x), self.dim, generator=generator, dtype=torch.float64).to(x)

        def pulled(point: Tensor, cotangent: Tensor) -> Tensor:
            return vjp(self._row(self.wide), point)[1](cotangent)[0]

        points = x.flatten(1).detach()
        with _plain():
            try:
                return u, vmap(pulled)(points, u)
            except RuntimeError:
                return u, torch.stack([pulled(*pair) for pair in zip(points, u, strict=True)])

    def _refuse(self, x: Tensor) -> None:
        assert self.declared is not None
        encode, decode = (in_dtype(half, self.dtype) for half in self.declared)
        gap = (self.wide(x) - decode(encode(x))).abs().max()
        raise InvalidArgumentError(
            f"cut() of {type(self.f).__name__} is wrong: g(h(x)) differs from f(x) by up to {gap:.2g}, or has another "
            "Jacobian; every path must pass through the cut, skip connections too."
        )

    # Products alone ---------------------------------------------------------------------------------------------------

    def products(self, x: Float[Tensor, "batch *shape"], dtype: torch.dtype | None = None) -> tuple[Map, Map]:
        """``(push, pull)``: J v and J^T u for stacks (m, B, dim), without forming a Jacobian.

        The point is evaluated once; each product then costs one or two evaluations. J v is the derivative of the linear
        map u -> J^T u, so that forward mode is not needed. In another ``dtype`` than that of the Jacobians only where
        the map could be traced.
        """
        x = x.to(self.dtype)
        if self.anatomy is not None:
            program, constants = self.anatomy.program, self._constants()
            run = program.run(constants, [program.source], [program.target])
            found = _products(lambda row: run(row.reshape(1, *self.shape))[0].reshape(-1), x.flatten(1))
            u, true = self._probe(x)
            if _equal(found[1](u[None])[0], true, true.norm(dim=1), self.eps).all():
                if dtype in (None, self.dtype):
                    return found
                narrow = {
                    name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                    for name, tensor in constants.items()
                }
                run = program.run(narrow, [program.source], [program.target])
                return _products(lambda row: run(row.reshape(1, *self.shape))[0].reshape(-1), x.flatten(1).to(dtype))
            self.anatomy = None  # the trace does not hold at these points
        with _plain():
            try:
                return _products(self._row(self.wide), x.flatten(1))
            except RuntimeError:  # control flow that depends on the data: each row goes its own way
                single = [_products(self._row(self.wide), row[None], by_row=False) for row in x.flatten(1)]
        pushes, pulls = zip(*single, strict=True)
        return _side_by_side(pushes), _side_by_side(pulls)

    def finite(self, x: Float[Tensor, "batch *shape"]) -> Bool[Tensor, " batch"]:
        """Where a random product with the Jacobian is finite, and so, but for chance, the Jacobian."""
        return self._probe(x.to(self.dtype))[1].isfinite().all(1)


def _products(f: Map, points: Tensor, *, by_row: bool = True) -> tuple[Map, Map]:
    pull = vjp(vmap(f) if by_row else (lambda rows: f(rows[0])[None]), points)[1]
    push = vjp(lambda u: pull(u)[0], torch.zeros_like(points))[1]
    return vmap(lambda v: push(v)[0]), vmap(lambda u: pull(u)[0])


def _side_by_side(products: Sequence[Map]) -> Map:
    return lambda v: torch.cat([product(v[:, i : i + 1]) for i, product in enumerate(products)], 1)


def _equal(ours: Tensor, true: Tensor, size: Tensor, eps: float) -> Tensor:
    """Rows that agree up to rounding of numbers of this size; where f itself is not finite nothing is compared."""
    room = eps**0.55 * true.norm(dim=1) + 1e3 * eps * size
    return ~true.isfinite().all(1) | ((ours - true).norm(dim=1) <= room)


@contextmanager
def _plain() -> Iterator[None]:
    """Attention by operations that have all derivatives; no warning of torch about what torch does itself."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.jit.script")  # its forward mode
        warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
        yield


def refuse_non_finite(finite: Bool[Tensor, " batch"], rows: Tensor) -> None:
    """Name the first point whose Jacobian is not finite."""
    if not finite.all():
        row = int(rows[int((~finite).nonzero()[0])])
        raise NonFiniteError(
            f"the Jacobian at row {row} holds NaN or infinity: f is not differentiable there or overflows; look at "
            "f(x) of this row."
        )


def check_differentiable_self_map(f: Map, x: Tensor) -> None:
    """One evaluation: the shape is kept and the output is finite."""
    with torch.no_grad():
        finite = torch.cat([apply_map(f, rows.clone()).isfinite().flatten(1).all(1) for rows in x.split(ROWS)])
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise NonFiniteError(f"f(x) holds NaN or infinity at row {row}: f overflows there; scale x as in training.")
