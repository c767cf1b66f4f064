"""Decide points that products with a Krylov space leave undecided, by what else is known about a matrix.

1. The full Jacobian, where it is small.
2. A multiple of an orthogonal matrix: all its eigenvalues have one modulus.
3. A triangular matrix: its eigenvalues stand on the diagonal.
4. A norm below 1: no radius exceeds it.
"""

from dataclasses import replace

import torch
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.arnoldi import compute_ritz_pairs
from memzoo.dynamics.spectra.derivatives import Products
from memzoo.dynamics.spectra.full_spectrum import compute_full_spectrum
from memzoo.dynamics.spectra.hidden_eigenvalues import bound_hidden_moduli
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.scaling import scale_values
from memzoo.dynamics.spectra.spectrum import Spectrum, replace_rows
from memzoo.dynamics.spectra.start_vectors import PROBE_MISSED, Draws, bound_norm

SMALL = 1024
"""Dimension up to which the full Jacobian is formed for a point that is undecided."""
WORKSPACE = 32
"""Bytes for each entry of a Jacobian that is formed to read its diagonal."""
KEPT = 1e-3
"""Share of the distance to 1 that a verdict keeps."""
NORM_TOLERANCE = 1e-6
"""Relative residual at which the square of the norm counts as found."""


def decide_by_structure(
    found: Spectrum,
    interval: Tensor,
    jacobians: Jacobians,
    x: Tensor,
    products: Products,
    exponents: Tensor,
    rounding: Tensor,
    draws: Draws,
) -> tuple[Spectrum, Tensor]:
    """Settle the undecided rows of a spectrum as far as possible.

    Args:
        found: What a Krylov space has shown.
        interval: Bounds on the radius from below and from above, (2, B).
        jacobians: The Jacobians.
        x: Points.
        products: Products in units of powers of two.
        exponents: Logarithms of these units.
        rounding: Bound on the norm of the rounding of the products, in these units.
        draws: Random vectors.

    Returns:
        The spectrum, and which rows are now settled by another way.
    """
    settled = torch.zeros_like(found.radius, dtype=torch.bool)
    rows = find_undecided(found)
    if not len(rows):
        return found, settled
    if jacobians.dim <= SMALL:
        settled[rows] = True
        return _replace_by_full(found, jacobians, x, rows), settled
    low, high = interval
    found, settled = _narrow(found, low, high, settled, rows)
    rows = find_undecided(found)
    if len(rows):
        least, most = _bound_by_isometry(products, exponents, rounding, draws, jacobians.dtype)
        low = torch.maximum(low, least)
        high = torch.minimum(high, most)
        found, settled = _narrow(found, low, high, settled, rows)
    found, settled = _read_diagonals(found, jacobians, x, products, draws.probes[..., 0].to(jacobians.dtype), settled)
    rows = find_undecided(found)
    rows = rows[found.sigma_max[rows] < 1]
    if len(rows):
        norm = _bound_norm(products.narrow(rows), rounding[rows], draws.norm[rows].to(jacobians.dtype))
        high = high.index_put((rows,), torch.minimum(high[rows], scale_values(norm, exponents[rows])))
        found, settled = _narrow(found, low, high, settled, rows)
    return found, settled


def find_undecided(found: Spectrum) -> Tensor:
    """Find the rows whose bound leaves open on which side of 1 the radius is, whatever is known of the derivative."""
    decided = (found.radius + found.radius_error < 1) | (found.radius - found.radius_error > 1)
    return (~decided).nonzero().flatten()


def _narrow(found: Spectrum, low: Tensor, high: Tensor, settled: Tensor, rows: Tensor) -> tuple[Spectrum, Tensor]:
    """Place the radius in a known interval, in the rows where that gives a verdict.

    An interval may reach far to one side of the radius, but not to that of 1. The radius then moves as little as the
    verdict needs.
    """
    radius = found.radius.clone()
    error = found.radius_error.clone()
    settled = settled.clone()
    chosen = rows[(high[rows] < 1) | ((low[rows] > 1) & high[rows].isfinite())]
    below, above = low[chosen], high[chosen]
    middle = radius[chosen].clamp(below, above)
    reach = torch.maximum(above - middle, middle - below)
    # Widen the interval up to nearly 1, and take its middle.
    least = torch.where(below > 1, 1 + KEPT * (below - 1), below)
    most = torch.where(above < 1, 1 - KEPT * (1 - above), above)
    decided = (middle - 1).abs() > reach
    radius[chosen] = torch.where(decided, middle, (least + most) / 2)
    error[chosen] = torch.where(decided, reach, (most - least) / 2) * (1 + 1e-15)
    settled[chosen] = True
    return replace(found, radius=radius, radius_error=error), settled


def _replace_by_full(found: Spectrum, jacobians: Jacobians, x: Tensor, rows: Tensor) -> Spectrum:
    """Compute the full spectra of some rows."""
    top = found.eigenvalues.shape[-1]
    for part in rows.split(max(1, jacobians.memory_limit // (8 * 6 * jacobians.dim**2))):
        points = x[part]
        full = compute_full_spectrum(
            jacobians.form_factors(points),
            "dense",
            top,
            vectors=found.vectors is not None,
            transient=False,
            find_triangular=lambda rows, points=points: jacobians.find_triangular(points[rows]),
        )
        found = replace_rows(found, part, full)
    return found


def _bound_by_isometry(
    products: Products, exponents: Tensor, rounding: Tensor, draws: Draws, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Bound the moduli of all eigenvalues of J by its least and its largest singular value, if they are nearly equal.

    With J^T J = c^2 + E all squares of singular values lie within the norm of E around c^2.
    """
    v = draws.probes.movedim(-1, 0)
    images = products.pull(products.push(v.to(dtype))).double()
    square = (v * images).sum((0, -1)) / v.square().sum((0, -1))
    rest = bound_norm((images - square[:, None] * v).movedim(0, -1))
    rest = rest + 2 * rounding * (square + rest).sqrt()
    low = (square - rest).clamp(min=0).sqrt()
    high = (square + rest).sqrt()
    return scale_values(low, exponents) * (1 - 1e-15), scale_values(high, exponents) * (1 + 1e-15)


def _bound_norm(products: Products, rounding: Tensor, start: Tensor) -> Tensor:
    """Bound the largest singular value from above, in a Krylov space of J^T J."""

    def multiply(v: Tensor) -> Tensor:
        return products.pull(products.push(v))

    def narrow(rows: Tensor) -> Map:
        some = products.narrow(rows)
        return lambda v: some.pull(some.push(v))

    pairs = compute_ritz_pairs(multiply, start, 1, NORM_TOLERANCE, narrow=narrow)
    noise = 2 * rounding * pairs.values[:, 0].abs().sqrt()
    square = bound_hidden_moduli(pairs, start.shape[-1], noise, chance=PROBE_MISSED, positive=True)
    return (square + noise).sqrt()


def _read_diagonals(
    found: Spectrum, jacobians: Jacobians, x: Tensor, products: Products, v: Tensor, settled: Tensor
) -> tuple[Spectrum, Tensor]:
    """Read the eigenvalues of undecided triangular matrices from the diagonal."""
    dim = jacobians.dim
    if WORKSPACE * dim**2 > jacobians.memory_limit:
        return found, settled
    names = ("eigenvalues", "radius", "radius_error", *(["vectors"] if found.vectors is not None else []))
    changed = {name: getattr(found, name).clone() for name in names}
    settled = settled.clone()
    rows = find_undecided(found)
    for row in rows[_look_triangular(products, v)[rows]].tolist():
        if not jacobians.find_triangular(x[row : row + 1]):
            continue
        factors = jacobians.form_factors(x[row : row + 1])
        if not factors.finite:
            continue
        matrix = factors.left
        values = matrix[0].diagonal().double()
        values = values[values.abs().argsort(descending=True)]
        changed["eigenvalues"][row] = values[: found.eigenvalues.shape[-1]]
        changed["radius"][row] = values[0].abs()
        changed["radius_error"][row] = jacobians.eps * dim**0.5 * matrix.abs().max().double()
        if "vectors" in changed:
            changed["vectors"][row] = torch.nan
        settled[row] = True
    return replace(found, **changed), settled


def _look_triangular(products: Products, v: Tensor) -> Tensor:
    """Tell where half of the outputs do not depend on half of the inputs, as in a triangular matrix."""
    half = v.shape[-1] // 2
    early = v.clone()
    early[:, half:] = 0
    late = v - early
    of_early, of_late = products.push(torch.stack([early, late]))
    return ~of_early[:, half:].any(1) | ~of_late[:, :half].any(1)
