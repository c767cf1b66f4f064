"""Compute eigenvalues of the Jacobian of a self-map, with error bounds and a verdict."""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_module
from memzoo._types import Map
from memzoo.dynamics.spectra.full_spectrum import compute_full_spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians, Method, check_differentiable_self_map, refuse_non_finite
from memzoo.dynamics.spectra.leading_spectrum import compute_leading_spectrum
from memzoo.dynamics.spectra.spectrum import Spectrum, fill_with_nan, join_spectra, repeat_spectrum
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64, widen_points
from memzoo.errors import InvalidArgumentError


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
    with J and its transpose, for all points at once.

    Args:
        f: Self-map; modules must be in eval mode. A module is read in float64 without being changed; another callable
            is asked for float64 and, if it cannot, measured in its own precision with the wider bound.
        x: Points, scaled as the model was trained.
        method: ``"cut"``, ``"arnoldi"`` or ``"dense"``. When left out: through a cut of at most 1024 values where there
            is one; else dense up to 256 dimensions and Arnoldi above.
        top: Keep only this many leading eigenvalues. Arnoldi finds one when left out.
        vectors: Also return the right eigenvectors.
        transient: Also return the transient growth; some dozens of products of k x k matrices a point.
        memory_limit: Bytes for the Jacobians in work at one time; points are taken in blocks that fit.

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
    check_batch(x, "x")
    check_module(f)
    if top is not None and top < 1:
        raise InvalidArgumentError(f"top must be at least 1, got {top}.")
    x = widen_points(f, x, "x")
    wide, points = promote_to_float64(f, x)
    check_map(wide, points)
    check_differentiable_self_map(wide, points)
    jacobians = Jacobians(f, x, method, memory_limit)
    return compute_spectrum(jacobians, x, top=top, vectors=vectors, transient=transient)


def compute_spectrum(
    jacobians: Jacobians,
    x: Tensor,
    *,
    top: int | None = None,
    vectors: bool = False,
    transient: bool = False,
    strict: bool = True,
) -> Spectrum:
    """Compute :func:`spectrum` from given Jacobians; unless ``strict``, it is NaN if one is not finite."""
    parts: list[Spectrum] = []
    for rows in jacobians.split_into_blocks(x):
        if jacobians.method == "arnoldi":
            finite = jacobians.find_finite(x[rows])
            if strict:
                refuse_non_finite(finite, rows)
            part = None
            if finite.any():
                part = compute_leading_spectrum(jacobians, x[rows[finite]], top or 1, vectors=vectors)
            parts.append(fill_with_nan(part, finite, jacobians.dim if vectors else 0))
            continue
        factors = jacobians.form_factors(x[rows])
        if strict:
            refuse_non_finite(factors.finite, rows)
        part = compute_full_spectrum(factors, jacobians.method, top, vectors=vectors, transient=transient)
        # An affine map has one Jacobian for all points.
        parts.append(repeat_spectrum(part, len(rows)) if len(factors.left) < len(rows) else part)
    return join_spectra(parts)
