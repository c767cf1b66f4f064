"""The quickest way to the leading eigenvalue of a Jacobian, with the full spectrum where it has not settled."""

import warnings
from dataclasses import replace

from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.eigenvalues import spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians, Method
from memzoo.dynamics.spectra.spectrum import Spectrum

UNSETTLED = 1e-3
"""Relative error of a radius from which on the full spectrum is computed."""
WIDE = 100
"""Width of a cut from which on forming the Jacobian takes more products than Arnoldi's method for one eigenvalue."""


def choose_quick_method(f: Map, points: Tensor) -> Method | None:
    """Choose the quickest way to one eigenvalue a point: products with the Jacobian where it is nowhere narrow.

    None leaves the choice to :func:`memzoo.dynamics.spectrum`; an affine map has one Jacobian for all points.
    """
    jacobians = Jacobians(f, points, None, 2**30)
    return "arnoldi" if jacobians.method == "cut" and jacobians.width > WIDE and not jacobians.affine else None


def compute_leading_eigenvalues(f: Map, points: Tensor) -> Spectrum:
    """Compute the leading eigenvalue at each point by the quickest way, and in full where that has not settled."""
    method = choose_quick_method(f, points)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have not converged", category=UserWarning)
        found = spectrum(f, points, top=1, method=method)
    doubtful = (~(found.radius_error <= UNSETTLED * found.radius)).nonzero().flatten()
    if method is None or not len(doubtful):
        return found
    full = spectrum(f, points[doubtful.to(points.device)], top=1)
    settled = {
        name: getattr(found, name).index_put((doubtful,), getattr(full, name))
        for name in ("eigenvalues", "radius", "radius_error", "sigma_max", "condition")
    }
    return replace(found, **settled)
