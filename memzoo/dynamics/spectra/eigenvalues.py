"""Compute eigenvalues of the Jacobian of a self-map, with error bounds and a verdict."""

from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._attempt import is_out_of_memory
from memzoo._checks import check_batch, check_map, check_module
from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.dynamics.spectra.checking import Check, DerivativeCheck
from memzoo.dynamics.spectra.full_spectrum import compute_full_spectrum
from memzoo.dynamics.spectra.jacobian import (
    LARGEST_BY_DIFFERENCES,
    Jacobians,
    Method,
    check_differentiable_self_map,
    refuse_non_finite,
)
from memzoo.dynamics.spectra.kinks import cover_sides
from memzoo.dynamics.spectra.leading_spectrum import compute_leading_spectrum
from memzoo.dynamics.spectra.own_derivative import build_check
from memzoo.dynamics.spectra.spectrum import (
    Spectrum,
    erase_rows,
    fill_with_nan,
    join_spectra,
    repeat_spectrum,
    replace_rows,
)
from memzoo.dynamics.tracing import leave_no_trace, widen_points
from memzoo.errors import InvalidArgumentError

AFFINE = 4
"""Points at which the one Jacobian of an affine map is checked."""


@torch.no_grad()
@leave_no_trace
def spectrum(
    f: Map,
    x: Float[Tensor, "batch *shape"],
    *,
    method: Method | None = None,
    top: int | None = None,
    vectors: bool = False,
    transient: bool = False,
    memory_limit: int = 2**30,
    seed: int | None = None,
) -> Spectrum:
    r"""Compute the nonzero spectrum of the Jacobian :math:`J_f(x)` at each point.

    At a fixed point a radius below 1 makes ``x`` an attractor and a radius above 1 makes it unstable (Theorem 2 of the
    paper, reading its "largest eigenvalue" as the largest modulus). At any other point the values describe local
    stretching and imply nothing about attraction: an untrained network has a radius near 0 everywhere.

    ``"cut"``: if some set of k < d intermediate values severs input from output, :math:`f = g \circ h` and the nonzero
    eigenvalues of the d x d matrix :math:`J_g J_h` are those of a k x k matrix, exactly and with multiplicity. The
    narrowest such place is found by tracing f; a module that cannot be traced may name one by a method ``cut()`` (see
    :class:`memzoo.dynamics.HasCut`). Affine parts before and after it are formed once for all points. Every Jacobian
    formed in this way is compared with a reverse product of f itself; if it differs, another way is taken.

    ``"dense"``: the full Jacobian. ``"arnoldi"``: the leading eigenvalues alone, in block Krylov spaces of products
    with J and its transpose, for all points at once. ``"differences"``: the full Jacobian by differences of f, up to
    4096 dimensions.

    Autograd may be told another derivative than that of f. Each Jacobian is therefore compared with differences of f;
    if they contradict it, that of the bare operations of f is taken, or differences, or the radius is NaN: see
    :attr:`Spectrum.derivative`.

    Args:
        f: Self-map; modules must be in eval mode. A module is read in float64 without being changed; another callable
            is asked for float64 and, if it cannot, measured in its own precision with the wider bound.
        x: Points, scaled as the model was trained.
        method: ``"cut"``, ``"arnoldi"``, ``"dense"`` or ``"differences"``. When left out: through a cut of at most 1024
            values where there is one; else dense up to 256 dimensions and Arnoldi above.
        top: Keep only this many leading eigenvalues. Arnoldi finds one when left out.
        vectors: Also return the right eigenvectors.
        transient: Also return the transient growth; some dozens of products of k x k matrices a point.
        memory_limit: Bytes for the Jacobians in work at one time; points are taken in blocks that fit.
        seed: Seed of the random starts of Arnoldi's method. When left out: one for each point, made of the point and of
            the parameters of ``f``, so that the same call gives the same numbers.

    Returns:
        Cost through a cut: k forward and k reverse products and an eigensolve of the size of the numerical rank, at
        most k, a point; dense: d reverse products and the eigensolve; Arnoldi: some hundred products.

    Raises:
        NonFiniteError: NaN or infinity in ``x``, in the parameters of ``f``, in ``f(x)`` or in a Jacobian.
        NotASelfMapError: ``f`` changes the shape of ``x``.
        ValueError: An active dropout or batch norm; a cut that is not one; an unknown ``method``.

    Example:
        >>> rotation = torch.tensor([[0.0, -1.2], [1.2, 0.0]])
        >>> result = spectrum(lambda x: x @ rotation.T, torch.zeros(1, 2))
        >>> result.radius, result.verdict
        (tensor([1.2000], dtype=torch.float64), ['expanding'])
    """
    if top is not None and top < 1:
        raise InvalidArgumentError(f"top must be at least 1, got {top}.")
    jacobians, x = open_jacobians(f, x, method, memory_limit)
    return compute_spectrum(jacobians, x, top=top, vectors=vectors, transient=transient, seed=seed)


def open_jacobians(f: Map, x: Tensor, method: Method | None, memory_limit: int) -> tuple[Jacobians, Tensor]:
    """Check a map and points, and return the Jacobians, and the points as they are measured."""
    check_batch(x, "x")
    check_module(f)
    x = widen_points(f, x, "x")
    jacobians = Jacobians(f, x, method, memory_limit)
    check_map(jacobians.wide, jacobians.points)
    check_differentiable_self_map(jacobians.wide, jacobians.points)
    return jacobians, x


def compute_spectrum(
    jacobians: Jacobians,
    x: Tensor,
    *,
    top: int | None = None,
    vectors: bool = False,
    transient: bool = False,
    strict: bool = True,
    seed: int | None = None,
    above: float | None = None,
) -> Spectrum:
    """Compute :func:`spectrum` from given Jacobians; unless ``strict``, it is NaN if one is not finite."""
    wanted = _Wanted(top, vectors=vectors, transient=transient, seed=seed, above=above)
    rows = torch.arange(len(x), device=x.device)
    found: Spectrum | None = None
    failure: RuntimeError | None = None
    for way in chain([jacobians], jacobians.list_alternatives()):
        try:
            part = _compute_checked_spectrum(way, x[rows], wanted, strict=strict and way is jacobians)
        except RuntimeError as error:  # what autograd cannot do
            if is_out_of_memory(error):
                raise
            failure = failure or error
            continue
        found = part if found is None else replace_rows(found, rows, part)
        rows = found.find_contradicted()
        if not len(rows):
            if way is not jacobians:
                _warn_of_wrong_derivative(jacobians, 0)
            return found
    if found is None:
        if jacobians.dim <= LARGEST_BY_DIFFERENCES and failure is not None:
            raise failure  # the map itself fails
        found = fill_with_nan(None, torch.zeros_like(rows, dtype=torch.bool), jacobians.dim if vectors else 0)
        found = replace(found, derivative=["contradicted"] * len(x))
    _warn_of_wrong_derivative(jacobians, len(rows))
    return erase_rows(found, rows)


def _warn_of_wrong_derivative(jacobians: Jacobians, unknown: int) -> None:
    """Say that autograd has another derivative than the map, and what is reported instead."""
    reported = "the map's own derivative is reported"
    if unknown:
        reported = f"the radius is NaN, because differences need at most {LARGEST_BY_DIFFERENCES} dimensions"
        if jacobians.dim <= LARGEST_BY_DIFFERENCES:
            reported = f"at {unknown} points the radius is NaN, because no other way agrees with the map"
    warn_user(
        f"autograd's derivative of {type(jacobians.f).__name__} is not that of the map, or there is none (no_grad, "
        f"detach(), a straight-through estimator, a backward of its own); {reported}.",
    )


@dataclass(frozen=True)
class _Wanted:
    """What is wanted of a spectrum."""

    top: int | None
    vectors: bool
    transient: bool
    seed: int | None
    above: float | None
    """Threshold above which moduli are counted."""


class _Around(NamedTuple):
    """Points beside those of a block."""

    others: Float[Tensor, "batch dim"]
    """For each point of the block another one."""
    all_points: Float[Tensor, "all dim"]
    """All points that are measured."""


def _compute_checked_spectrum(jacobians: Jacobians, x: Tensor, wanted: _Wanted, *, strict: bool) -> Spectrum:
    """Compute the spectrum in one way, and compare the Jacobians with differences of the map at each point."""
    if wanted.above is not None and jacobians.method == "arnoldi":
        jacobians.method = "dense"  # all eigenvalues are counted
    check = build_check(jacobians)
    flat = x.to(jacobians.dtype).flatten(1)
    compute = _compute_leading_block if jacobians.method == "arnoldi" else _compute_full_block
    parts: list[Spectrum] = []
    for rows in jacobians.split_into_blocks(x):
        around = _Around(flat[(rows + 1) % len(flat)], flat)
        parts.append(compute(jacobians, check, x[rows], around, wanted, rows if strict else None))
    return join_spectra(parts)


def _compute_leading_block(
    jacobians: Jacobians, check: DerivativeCheck, x: Tensor, around: _Around, wanted: _Wanted, named: Tensor | None
) -> Spectrum:
    """Compute leading eigenvalues from products; rows that are ``named`` are refused if they are not finite."""
    finite = jacobians.find_finite(x)
    if named is not None:
        refuse_non_finite(finite, named)
    part = None
    if finite.any():
        x = x[finite]
        products = jacobians.form_products(x)
        part = compute_leading_spectrum(
            jacobians, x, wanted.top or 1, vectors=wanted.vectors, seed=wanted.seed, products=products
        )
        flat = x.to(jacobians.dtype).flatten(1)
        others = around.others[finite]
        found = check.check(flat, others, products.push, staircase=not jacobians.affine, all_points=around.all_points)
        part = cover_sides(_add_check(part, found), jacobians, found, flat)
    return fill_with_nan(part, finite, jacobians.dim if wanted.vectors else 0)


def _compute_full_block(
    jacobians: Jacobians, check: DerivativeCheck, x: Tensor, around: _Around, wanted: _Wanted, named: Tensor | None
) -> Spectrum:
    """Compute all eigenvalues from factors of the Jacobians."""
    factors = jacobians.form_factors(x)
    if named is not None:
        refuse_non_finite(factors.finite, named)
    part = compute_full_spectrum(
        factors,
        jacobians.method,
        wanted.top,
        vectors=wanted.vectors,
        transient=wanted.transient,
        find_triangular=lambda rows: jacobians.find_triangular(x[rows]),
        above=wanted.above,
    )
    flat = x.to(jacobians.dtype).flatten(1)
    if jacobians.affine:  # it has one Jacobian for all points
        few = torch.linspace(0, len(x) - 1, min(len(x), AFFINE), device=x.device).round().long()
        if len(factors.left) < len(x):
            part = repeat_spectrum(part, len(x))
        else:
            factors = factors.select(few)
        found = check.check(flat[few], around.others[few], factors.push, staircase=False)
        return _add_check(part, found.summarise(len(x)))
    found = check.check(flat, around.others, factors.push, all_points=around.all_points)
    found = found.withdraw(~factors.finite)
    return cover_sides(_add_check(part, found), jacobians, found, flat)


def _add_check(part: Spectrum, check: Check) -> Spectrum:
    """Add what the check of the derivative found.

    No bound can be given for the radius of a derivative that is not verified.
    """
    unverified = check.mark("unverified")
    return replace(
        part,
        radius_error=part.radius_error.masked_fill(unverified, torch.inf),
        derivative=check.words,
        resting=check.resting,
    )
