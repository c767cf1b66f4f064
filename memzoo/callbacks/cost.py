"""What a map can be measured with at a reasonable price: how many starts, which way to its leading eigenvalues."""

import warnings
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from memzoo.dynamics import Spectrum, spectrum
from memzoo.dynamics.jacobian import Jacobians, Method

MOST, LEAST = 200, 16  # starts
PRICE = 5e11  # operations for all of them: some seconds on a core
UNSETTLED = 1e-3  # relative error of a radius
WIDE = 100  # through a wider cut more products are formed than one eigenvalue takes


def affordable_starts(f: nn.Module, row: Tensor, steps: int) -> int:
    """200, or as many as can be iterated ``steps`` times with 5e11 operations, at least 16.

    The count depends on the map alone and not on the machine, so that values can be compared.

    Args:
        f: Self-map.
        row: One point (1, *shape).
        steps: Iterations.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        f(row)
    price = counter.get_total_flops() * max(steps, 1)
    return MOST if price == 0 else int(min(MOST, max(LEAST, PRICE // price)))


def quick_method(f: nn.Module, points: Tensor) -> Method | None:
    """The quickest way to one eigenvalue a point: products with the Jacobian where it is nowhere narrow.

    None leaves the choice to :func:`memzoo.dynamics.spectrum`; an affine map has one Jacobian for all points.
    """
    jacobians = Jacobians(f, points, None, 2**30)
    return "arnoldi" if jacobians.method == "cut" and jacobians.width > WIDE and not jacobians.affine else None


def leading(f: nn.Module, points: Tensor) -> Spectrum:
    """The leading eigenvalue at each point by the quickest way; in full where that has not settled."""
    method = quick_method(f, points)
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
