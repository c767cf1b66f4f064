"""Polish fixed points by Newton's method.

Newton's method on f(x) - x converges quadratically near a fixed point, but far from it a step may lead into another
basin. It is therefore a last polish only, within a small reach of the limit of an orbit.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.orbits import SETTLED
from memzoo.dynamics.spectra import ROWS, Jacobians, choose_own_derivative, solve, solve_shifted

POLISH = 4
"""Newton steps; on a piecewise-linear map one step lands on the fixed point."""


def compute_residual_norm(f: Map, x: Tensor) -> Tensor:
    """Compute the L2 norm of f(x) - x (B,), infinity where it is not finite."""
    residual = torch.cat([(f(rows) - rows).flatten(1).norm(dim=1) for rows in x.split(ROWS)])
    return torch.where(residual.isfinite(), residual, torch.inf)


def compute_newton_step(jacobians: Jacobians, x: Tensor) -> Tensor:
    r"""Compute the step (B, d) of Newton's method on f(x) - x; infinite where I - J is singular or J is not finite.

    With :math:`r = f(x) - x` and J = L R, the step :math:`(I - LR)^{-1} r = r + L (I - RL)^{-1} R r` needs only a
    k x k system (the identity of Woodbury).
    """
    steps: list[Tensor] = []
    for rows in jacobians.split_into_blocks(x):
        residual = (jacobians.wide(x[rows]) - x[rows]).flatten(1)
        if jacobians.method == "arnoldi":
            step = torch.full_like(residual, torch.inf)
            finite = jacobians.find_finite(x[rows])
            if finite.any():
                products = jacobians.form_products(x[rows][finite])
                step[finite] = solve_shifted(products[0], residual[finite])
        else:
            factors = jacobians.form_factors(x[rows])
            core = factors.core()
            identity = torch.eye(core.shape[-1], dtype=residual.dtype, device=residual.device)
            residual = residual[:, :, None]
            inner, solved = solve(identity - core, factors.inward(residual))
            step = (residual + factors.outward(inner)).squeeze(-1)
            step[~(solved & factors.finite.to(solved.device))] = torch.inf  # an affine map has one Jacobian for all
        # A step that is partly infinite leads nowhere.
        step[~step.isfinite().all(1)] = torch.inf
        steps.append(step)
    return torch.cat(steps)


def polish_fixed_point(jacobians: Jacobians, points: Tensor, reach: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
    """Polish each point by Newton's method, as long as that lowers its residual and stays within its ``reach``.

    A point that Newton's method would move farther is returned unchanged.

    Returns:
        The points, and for each the Newton step (B, d) that was not taken.
    """
    wide = jacobians.wide
    points = points.to(jacobians.dtype)
    origin = points
    best = compute_residual_norm(wide, points)
    step_left = torch.zeros_like(points.flatten(1))
    rows = torch.arange(len(points), device=points.device)
    own: Jacobians | None = None
    for _ in range(POLISH):
        # Only rows whose residual exceeds rounding, and which the last step improved, are still worth a Jacobian.
        size = points[rows].flatten(1).norm(dim=1)
        rounding = 2 * SETTLED * torch.finfo(points.dtype).eps * size
        improvable = (best[rows] > rounding) & best[rows].isfinite()
        step_left[rows[~improvable]] = 0
        rows = rows[improvable]
        if not len(rows):
            break
        own = own or choose_own_derivative(jacobians, points[rows])
        step = compute_newton_step(own, points[rows])
        trial = points[rows] + step.nan_to_num(posinf=0.0).reshape(-1, *points.shape[1:])
        residual = compute_residual_norm(wide, trial)
        moved = (trial - origin[rows]).flatten(1).norm(dim=1)
        accepted = (residual < best[rows]) & (moved < reach[rows])
        step_left[rows[~accepted]] = step[~accepted]
        rows = rows[accepted]
        points = points.index_put((rows,), trial[accepted])
        best = best.index_put((rows,), residual[accepted])
        step_left[rows] = step[accepted]  # in place of the next step, until that is known
    return points, step_left
