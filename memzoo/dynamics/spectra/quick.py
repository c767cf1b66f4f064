"""Compute the leading eigenvalue of a Jacobian by the quickest method, and in full where that has not converged."""

import warnings

from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.eigenvalues import spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians, Method
from memzoo.dynamics.spectra.spectrum import Spectrum, replace_rows

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


def compute_leading_eigenvalues(f: Map, points: Tensor) -> Spectrum:
    """Compute the leading eigenvalue at each point by the quickest method, and in full where it has not converged."""
    method = choose_quick_method(f, points)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have not converged", category=UserWarning)
        found = spectrum(f, points, top=1, method=method)
    converged = found.radius_error <= UNCONVERGED * found.radius  # False for NaN
    doubtful = (~converged).nonzero().flatten()
    if method is None or not len(doubtful):
        return found
    full = spectrum(f, points[doubtful.to(points.device)], top=1)
    return replace_rows(found, doubtful, full)
