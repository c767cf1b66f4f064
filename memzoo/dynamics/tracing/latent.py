"""A map whose last layers are affine, iterated in the coordinates of what those layers can reach."""

import contextlib
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from memzoo._types import Map
from memzoo.dynamics.tracing.minimum_cut import anatomy
from memzoo.dynamics.tracing.precision import in_dtype, tensors_of
from memzoo.dynamics.tracing.traced_graph import Program, traced

BLOCK = 4096  # rows in float64 at one time
PAYS = 0.5  # iterate in latent coordinates where they are at most this share of the dimension


@dataclass(frozen=True)
class OutputRange:
    """The affine subspace ``centre + span(basis)`` that holds every f(x); float64."""

    basis: Float[Tensor, "dim k"]
    """Orthonormal columns."""
    centre: Float[Tensor, " dim"]
    """Its point nearest to the origin, orthogonal to the basis."""

    def coordinates(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch k"]:
        """Coordinates of the nearest point of the subspace; distances within it are distances of coordinates."""
        return torch.cat([part.double() @ self.basis for part in x.flatten(1).split(BLOCK)])

    def offset(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
        """L2 distance of each row to the subspace: no orbit comes nearer to it at any t >= 1."""
        return torch.cat([self._outside(part.double()) for part in x.flatten(1).split(BLOCK)])

    def _outside(self, flat: Tensor) -> Tensor:
        return torch.linalg.vector_norm(flat - self.centre - flat @ self.basis @ self.basis.mT, dim=1)


@dataclass(frozen=True)
class LatentMap:
    """``f`` in coordinates y of its output range: the orbit of f is the lifted orbit of ``step``."""

    range: OutputRange
    first: Map
    """From a point x anywhere to the coordinates of f(x)."""
    step: Map
    """From the coordinates of x to those of f(x)."""
    shape: torch.Size

    def lift(self, y: Float[Tensor, "batch k"]) -> Float[Tensor, "batch *shape"]:
        """The points of these coordinates."""
        flat = y @ self.range.basis.mT.to(y.dtype) + self.range.centre.to(y.dtype)
        return flat.reshape(-1, *self.shape)


@torch.no_grad()
def output_range(f: Map, x: Float[Tensor, "batch *shape"]) -> OutputRange | None:
    """What the affine last layers of ``f`` can reach; None where they are as wide as the input, or f cannot be traced.

    Cost: one product for each unit before the affine layers, and a QR factorisation.
    """
    images = in_dtype(f, torch.float64)
    for afresh in (False, True):  # a module may have changed since it was traced
        form = _last_affine(f, x, afresh=afresh)
        if form is None:
            return None
        with contextlib.suppress(RuntimeError, TypeError):
            y = images(x[:8].double()).double().flatten(1)
            if (form[1].offset(y) <= 1e-5 * y.norm(dim=1)).all():
                return form[1]
    return None


@torch.no_grad()
def latent_map(f: Map, x: Float[Tensor, "batch *shape"]) -> LatentMap | None:
    """``f`` in latent coordinates where its first and last layers are affine and narrow inside; else None.

    The last layer and the first one are fused into one k x k matrix, so that a step never forms a point. Compared with
    ``f`` itself on the rows of ``x`` in float64 before it is used.
    """
    form = _last_affine(f, x)
    if form is None:
        return None
    program, output, triangle, shift = form
    plan = anatomy(program)
    dim, size = x[0].numel(), program.size(plan.entry) or 0
    if plan.affine or max(size, output.basis.shape[1]) > PAYS * dim:
        return None
    constants = {name: _double(tensor) for name, tensor in tensors_of(f).items()}
    entrance = _matrix(program, constants, (program.source, plan.entry), dim)
    fused, start = entrance[0] @ output.basis, entrance[1] + entrance[0] @ output.centre

    def assembled(dtype: torch.dtype, *, together: bool) -> tuple[Map, Map]:
        kinds = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in constants.items()}
        inner = program.run(kinds, [plan.entry], [plan.exit])
        entry_shape = program.shape(plan.entry)
        by_row = vmap(lambda row: inner(row.reshape(entry_shape))[0].reshape(-1))
        middle = (lambda z: inner(z)[0]) if together else by_row
        weight, bias, narrow, begin, from_x, from_x_bias = (
            part.to(dtype) for part in (triangle, shift, fused, start, *entrance)
        )
        return (
            lambda points: torch.addmm(bias, middle(torch.addmm(from_x_bias, points.flatten(1), from_x.mT)), weight.mT),
            lambda y: torch.addmm(bias, middle(torch.addmm(begin, y, narrow.mT)), weight.mT),
        )

    for together in (True, False):  # perceptrons take all rows at once, other programs hold the shape of one row
        try:
            found = LatentMap(output, *assembled(torch.float64, together=together), x.shape[1:])
            if _agrees(found, in_dtype(f, torch.float64), x[:8].double()):
                return LatentMap(output, *assembled(x.dtype, together=together), x.shape[1:])
        except RuntimeError:
            pass
    return None


def _agrees(latent: LatentMap, f: Map, x: Tensor) -> bool:
    y = latent.first(x)
    pairs = (latent.lift(y), f(x)), (latent.lift(latent.step(y)), f(latent.lift(y)))
    return all(ours.shape == true.shape and bool((ours - true).norm() <= 1e-9 * true.norm()) for ours, true in pairs)


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().double() if tensor.is_floating_point() else tensor.detach()


def _matrix(program: Program, constants: dict[str, Tensor], ends: tuple, dim: int) -> tuple[Tensor, Tensor]:
    """Matrix and bias of an affine stretch of the program."""
    run, shape = program.run(constants, ends[:1], ends[1:]), program.shape(ends[0])
    sample = next((t for t in constants.values() if t.is_floating_point()), torch.empty(0))
    identity = torch.eye(dim, dtype=torch.float64, device=sample.device)
    row = vmap(lambda flat: run(flat.reshape(shape))[0].reshape(-1))
    bias = row(torch.zeros_like(identity[:1]))[0]
    return (row(identity) - bias).mT, bias


def _last_affine(f: Map, x: Tensor, *, afresh: bool = False) -> tuple[Program, OutputRange, Tensor, Tensor] | None:
    constants = {name: _double(tensor) for name, tensor in tensors_of(f).items()}
    program = traced(f, x[:1].double(), constants, afresh=afresh)
    if program is None:
        return None
    plan = anatomy(program)
    size = program.size(plan.exit) or 0
    if size >= x[0].numel():
        return None
    try:
        matrix, bias = _matrix(program, constants, (plan.exit, program.target), size)
    except RuntimeError:
        return None
    if not (matrix.isfinite().all() and bias.isfinite().all()):
        return None
    basis, triangle = torch.linalg.qr(matrix)
    shift = basis.mT @ bias
    return program, OutputRange(basis, bias - basis @ shift), triangle, shift
