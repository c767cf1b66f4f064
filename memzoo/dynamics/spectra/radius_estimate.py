r"""Estimate spectral radii by products in single precision, without a bound.

The eigenvalues of J are those of its transpose, whose products take half of the time. A Krylov space of the transpose
is grown until the residual of its leading eigenvalue, times the condition of that eigenvalue in the projected matrix,
is small. That is the error of the eigenvalue to first order (Saad, Numerical Methods for Large Eigenvalue Problems, 2nd
edition, chapter 3), as far as this space shows.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.spectra.arnoldi import compute_ritz_pairs, count_columns
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.own_derivative import TRIED, build_check
from memzoo.dynamics.spectra.start_vectors import derive_seeds, draw_vectors

TOLERANCE = 5e-4
"""Estimated error of a radius, relative to it."""
AGREEMENT = 1e-3
"""Relative difference from the products of the map in double that is taken for the rounding of single precision."""
AT_ONCE = 8
"""Points at which the map is differentiated in double at one time."""


def estimate_radii(jacobians: Jacobians, x: Tensor) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Estimate the spectral radius at each point.

    Returns:
        The radii, and where they are known: the derivative is that of the map at the first points, the products in
        single precision are those of the map, and the estimate has converged.

    Cost: at most 200 reverse products in single precision, and one in double.
    """
    radius = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
    known = torch.zeros_like(radius, dtype=torch.bool)
    if not _is_verified(jacobians, x[:TRIED]):
        return radius, known
    for rows in jacobians.split_into_blocks(x, coarse=True):
        radius[rows], known[rows] = _estimate_block(jacobians, x[rows])
    return radius, known


def _is_verified(jacobians: Jacobians, x: Tensor) -> bool:
    """Tell whether differences of the map verify its derivative at all of some points."""
    if not jacobians.find_finite(x).all():
        return False
    flat = x.to(jacobians.dtype).flatten(1)
    found = build_check(jacobians).check(flat, flat.roll(1, 0), jacobians.form_push(flat))
    return all(word == "verified" for word in found.words)


def _estimate_block(jacobians: Jacobians, x: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the radii of some points that fit into memory together."""
    unknown = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
    nowhere = torch.zeros_like(unknown, dtype=torch.bool)
    # In double a graph holds twice as much, so that few points are taken at a time, before the other graph is made.
    witnesses = [jacobians.draw_witness(some) for some in x.split(AT_ONCE)]
    pull = jacobians.form_coarse_pull(x, torch.float32)
    if pull is None:
        return unknown, nowhere
    expected = torch.cat([witness.images for witness in witnesses])
    images = pull(torch.cat([witness.cotangents for witness in witnesses])[None].float())[0]
    gap = torch.linalg.vector_norm(images - expected, dim=1)
    rows = (gap <= AGREEMENT * torch.linalg.vector_norm(expected, dim=1)).nonzero().flatten()
    if not len(rows):
        return unknown, nowhere

    def narrow(chosen: Tensor) -> Map:
        part = jacobians.form_coarse_pull(x[rows[chosen]], torch.float32)
        assert part is not None
        return part

    dim = jacobians.dim
    seeds = derive_seeds(jacobians.f, x[rows], None)
    start = draw_vectors(seeds, dim, 1, 0).left.float()
    first = pull if len(rows) == len(x) else narrow(torch.arange(len(rows), device=x.device))
    pairs = compute_ritz_pairs(first, start, 1, TOLERANCE, narrow=narrow, weighted=True)
    assert pairs.condition is not None
    found = pairs.values[:, 0].abs()
    error = pairs.residual[:, 0] * pairs.condition[:, 0]
    full = count_columns(dim, 1) == dim
    unknown[rows] = found
    nowhere[rows] = (error <= TOLERANCE * found) | full
    return unknown, nowhere
