"""Compute the leading eigenvalue of a Jacobian by the quickest method, and in full where that has not converged."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.eigenvalues import open_jacobians, spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians, Method
from memzoo.dynamics.spectra.radius_estimate import estimate_radii
from memzoo.dynamics.spectra.spectrum import Spectrum, replace_rows
from memzoo.dynamics.tracing import leave_no_trace

UNCONVERGED = 1e-3
"""Relative error of a radius from which on the full spectrum is computed."""
WIDE = 100
"""Width of a cut from which on forming the Jacobian takes more products than Arnoldi's method for one eigenvalue."""


def choose_quick_method(f: Map, points: Tensor) -> Method | None:
    """Choose the quickest method for one eigenvalue a point: products with the Jacobian if its cut is wide.

    None leaves the choice to :func:`memzoo.dynamics.spectrum`; an affine map has one Jacobian for all points.
    """
    jacobians = Jacobians(f, points, None, 2**30)
    wide_cut = jacobians.method == "cut" and jacobians.width > WIDE
    return "arnoldi" if wide_cut and not jacobians.affine else None


def compute_leading_eigenvalues(f: Map, points: Tensor, *, memory_limit: int = 2**30) -> Spectrum:
    """Compute the leading eigenvalue at each point by the quickest method, and in full where it has not converged."""
    method = choose_quick_method(f, points)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have not converged", category=UserWarning)
        found = spectrum(f, points, top=1, method=method, memory_limit=memory_limit)
    converged = found.radius_error <= UNCONVERGED * found.radius  # False for NaN
    doubtful = (~converged).nonzero().flatten()
    if method is None or not len(doubtful):
        return found
    full = spectrum(f, points[doubtful.to(points.device)], top=1, memory_limit=memory_limit)
    return replace_rows(found, doubtful, full)


@torch.no_grad()
@leave_no_trace
def compute_radii(f: Map, points: Tensor, *, memory_limit: int = 2**30) -> Float[Tensor, " batch"]:
    """Compute spectral radii that decide nothing: without a bound where products with the Jacobian are quicker.

    Three digits are right by estimate (:mod:`memzoo.dynamics.spectra.radius_estimate`); where they are not, or where
    the derivative may not be that of the map, :func:`compute_leading_eigenvalues` tells. NaN as in
    :func:`select_verified_radii`.
    """
    jacobians, x = open_jacobians(f, points, None, memory_limit)
    if jacobians.width <= WIDE or jacobians.affine:
        return select_verified_radii(compute_leading_eigenvalues(f, points, memory_limit=memory_limit))
    radius, known = estimate_radii(jacobians, x)
    rest = (~known).nonzero().flatten()
    if len(rest):
        found = compute_leading_eigenvalues(f, points[rest], memory_limit=memory_limit)
        radius[rest] = select_verified_radii(found)
    return radius


def select_verified_radii(found: Spectrum) -> Float[Tensor, " batch"]:
    """Return the radii, and NaN where nothing tells whether the derivative is that of the map.

    A spectrum marks such a radius; a mean, a median or a largest value of several radii could not.
    """
    unverified = [word == "unverified" for word in found.derivative] or [False] * len(found.radius)
    return found.radius.masked_fill(torch.tensor(unverified, device=found.radius.device), torch.nan)
