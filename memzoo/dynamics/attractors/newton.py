"""Newton's method for fixed points, as a last polish: where it may move far it changes basins."""

import torch
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.orbits import SETTLED
from memzoo.dynamics.spectra import ROWS, Jacobians, solve, solve_shifted

POLISH = 4  # Newton steps; on a piecewise-linear map one lands on the fixed point


def residual_norm(f: Map, x: Tensor) -> Tensor:
    """L2 norm of f(x) - x (B,), infinity where it is not finite."""
    residual = torch.cat([(f(rows) - rows).flatten(1).norm(dim=1) for rows in x.split(ROWS)])
    return torch.where(residual.isfinite(), residual, torch.inf)


def newton_step(jacobians: Jacobians, x: Tensor) -> Tensor:
    r"""Step (B, d) of Newton's method on f(x) - x; infinite where I - J is singular or J is not finite.

    With J = L R, the step :math:`(I - LR)^{-1} r = r + L (I - RL)^{-1} R r` needs only a k x k system (Woodbury).
    """
    steps = []
    for rows in jacobians.split_into_blocks(x):
        gap = (jacobians.wide(x[rows]) - x[rows]).flatten(1)[:, :, None]
        if jacobians.method == "arnoldi":
            step = torch.full_like(gap.squeeze(-1), torch.inf)
            sound = jacobians.find_finite(x[rows])
            if sound.any():
                step[sound] = solve_shifted(jacobians.form_products(x[rows][sound])[0], gap[sound].squeeze(-1))
        else:
            factors = jacobians.form_factors(x[rows])
            core = factors.core()
            identity = torch.eye(core.shape[-1], dtype=gap.dtype, device=gap.device)
            inner, solved = solve(identity - core, factors.inward(gap))
            step = (gap + factors.outward(inner)).squeeze(-1)
            step[~(solved & factors.finite.to(solved.device))] = torch.inf  # an affine map has one Jacobian for all
        step[~step.isfinite().all(1)] = torch.inf
        steps.append(step)
    return torch.cat(steps)


def polished(jacobians: Jacobians, points: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Newton's method, row by row while it lowers the residual within ``reach``; also the step (B, d) left undone.

    Newton changes basins where it may move far, so a limit that it would leave is returned as it came.
    """
    wide, points = jacobians.wide, points.to(jacobians.dtype)
    origin, best = points, residual_norm(wide, points)
    undone = torch.zeros_like(points.flatten(1))
    rows = torch.arange(len(points), device=points.device)
    for _ in range(POLISH):
        size = points[rows].flatten(1).norm(dim=1)
        moving = (best[rows] > 2 * SETTLED * torch.finfo(points.dtype).eps * size) & best[rows].isfinite()
        undone[rows[~moving]] = 0
        rows = rows[moving]
        if not len(rows):
            break
        step = newton_step(jacobians, points[rows])
        trial = points[rows] + step.nan_to_num(posinf=0.0).reshape(-1, *points.shape[1:])
        residual = residual_norm(wide, trial)
        accepted = (residual < best[rows]) & ((trial - origin[rows]).flatten(1).norm(dim=1) < reach)
        undone[rows[~accepted]] = step[~accepted]
        rows, trial, residual = rows[accepted], trial[accepted], residual[accepted]
        points, best = points.index_put((rows,), trial), best.index_put((rows,), residual)
        undone[rows] = step[accepted]  # until the next step is known
    return points, undone
