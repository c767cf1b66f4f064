"""Polish fixed points by Newton's method.

Newton's method on f(x) - x converges quadratically near a fixed point, but far from it a step may lead into another
basin. It is therefore a last polish only, within a small reach of the limit of an orbit.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._types import Map
from memzoo.dynamics.orbits import SETTLED
from memzoo.dynamics.spectra import ROWS, Jacobians, Products, choose_own_derivative, solve, solve_shifted

POLISH = 4
"""Newton steps; on a piecewise-linear map one step lands on the fixed point."""
NARROW = 100
"""Width of a cut up to which the factors of a Jacobian are cheap."""
INEXACT = 1e-4
"""Share of the residual that the linear system may leave, where it is solved in single precision."""
CERTAINLY = 1.001
"""Factor by which a lower bound on the length of a step has to exceed what is allowed: room for rounding."""


def compute_residual_norm(f: Map, x: Tensor) -> Tensor:
    """Compute the L2 norm of f(x) - x (B,), infinity where it is not finite."""
    if not len(x):
        return x.new_zeros(0)
    residual = torch.cat([(f(rows) - rows).flatten(1).norm(dim=1) for rows in x.split(ROWS)])
    return torch.where(residual.isfinite(), residual, torch.inf)


def compute_newton_step(jacobians: Jacobians, x: Tensor, reach: Float[Tensor, " batch"]) -> Tensor:
    r"""Compute the step (B, d) of Newton's method on f(x) - x.

    It is infinite where I - J is singular or J is not finite, and where the step is proven to be longer than ``reach``.

    With :math:`r = f(x) - x` and J = L R, the step :math:`(I - LR)^{-1} r = r + L (I - RL)^{-1} R r` needs only a
    k x k system (the identity of Woodbury).
    """
    by_products = jacobians.method == "arnoldi"
    steps: list[Tensor] = []
    for rows in jacobians.split_into_blocks(x):
        residual = (jacobians.wide(x[rows]) - x[rows]).flatten(1)
        step = torch.full_like(residual, torch.inf)
        short = torch.arange(len(rows), device=x.device)
        products = None
        # Narrow factors are formed at less cost than the bound.
        if by_products or (jacobians.method != "differences" and jacobians.width > NARROW and not jacobians.affine):
            products, short = _leave_long_steps_out(jacobians, x[rows], residual, reach[rows])
        if len(short):
            step[short] = (
                _solve_by_products(jacobians, x[rows][short], products, residual[short])
                if by_products and products is not None
                else _solve_at_cut(jacobians, x[rows][short], residual[short])
            )
        # A step that is partly infinite leads nowhere.
        step[~step.isfinite().all(1)] = torch.inf
        steps.append(step)
    return torch.cat(steps)


def _leave_long_steps_out(
    jacobians: Jacobians, x: Tensor, residual: Tensor, reach: Tensor
) -> tuple[Products | None, Int[Tensor, " m"]]:
    r"""Leave out the points whose Newton steps are longer than ``reach``, and those without a finite Jacobian.

    With the step s, :math:`(I - J) s = r`, every vector w bounds it from below,

    .. math:: \langle w, r \rangle = \langle (I - J)^T w, s \rangle \le \|(I - J)^T w\| \, \|s\| .

    The vector w = r costs one product. No norm of the Jacobian has to be known, and the map may be far from normal.

    Returns:
        The products with the Jacobians of the other points, None if there are none, and the rows of these points.
    """
    rows = jacobians.find_finite(x).nonzero().flatten()
    if not len(rows):
        return None, rows
    products = jacobians.form_products(x[rows])
    r = residual[rows]
    image = torch.linalg.vector_norm(r - products.pull(r[None])[0], dim=1)
    short = (~(r.square().sum(1) > CERTAINLY * reach[rows] * image)).nonzero().flatten()
    if len(short) == len(rows):
        return products, rows
    return (products.narrow(short) if len(short) else None), rows[short]


def _solve_by_products(jacobians: Jacobians, x: Tensor, products: Products, residual: Tensor) -> Tensor:
    """Compute Newton's step in Krylov spaces, in single precision if that leaves little of the residual.

    A Newton step that is not exact converges by the share that it leaves (Dembo, Eisenstat and Steihaug, Inexact Newton
    methods, 1982).
    """
    coarse = jacobians.form_coarse_products(x, torch.float32) if jacobians.dtype == torch.float64 else None
    step = torch.full_like(residual, torch.nan)
    if coarse is not None:
        size = torch.linalg.vector_norm(residual, dim=1, keepdim=True)
        unit = (residual / size).float()
        found = solve_shifted(coarse.push, unit, tol=INEXACT / 2, narrow=lambda rows: coarse.narrow(rows).push)
        step = found.to(residual) * size
        left = torch.linalg.vector_norm(residual - step + products.push(step[None])[0], dim=1, keepdim=True)
        step = torch.where(left <= INEXACT * size, step, torch.nan)
    rows = step.isnan().any(1).nonzero().flatten()
    if len(rows):
        exact = products.narrow(rows)
        step[rows] = solve_shifted(exact.push, residual[rows], narrow=lambda chosen: exact.narrow(chosen).push)
    return step


def _solve_at_cut(jacobians: Jacobians, x: Tensor, residual: Tensor) -> Tensor:
    """Compute Newton's step from the factors of the Jacobian; infinite where there is none."""
    factors = jacobians.form_factors(x)
    core = factors.core()
    identity = torch.eye(core.shape[-1], dtype=residual.dtype, device=residual.device)
    residual = residual[:, :, None]
    inner, solved = solve(identity - core, factors.inward(residual))
    step = (residual + factors.outward(inner)).squeeze(-1)
    step[~(solved & factors.finite.to(solved.device))] = torch.inf  # an affine map has one Jacobian for all
    return step


def polish_fixed_point(jacobians: Jacobians, points: Tensor, reach: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
    """Polish each point by Newton's method, as long as that lowers its residual and stays within its ``reach``.

    A point that Newton's method would move farther is returned unchanged.

    Returns:
        The points, and for each the Newton step (B, d) that was not taken; infinite where there is none, or where it
        is only known to be longer than ``reach``.
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
        way = (points[rows] - origin[rows]).flatten(1).norm(dim=1)
        step = compute_newton_step(own, points[rows], reach[rows] + way)
        trial = points[rows] + step.nan_to_num(posinf=0.0).reshape(-1, *points.shape[1:])
        exists = step.isfinite().all(1)
        residual = best[rows].clone()
        residual[exists] = compute_residual_norm(wide, trial[exists])
        moved = (trial - origin[rows]).flatten(1).norm(dim=1)
        accepted = (residual < best[rows]) & (moved < reach[rows])
        step_left[rows[~accepted]] = step[~accepted]
        rows = rows[accepted]
        points = points.index_put((rows,), trial[accepted])
        best = best.index_put((rows,), residual[accepted])
        step_left[rows] = step[accepted]  # in place of the next step, until that is known
    return points, step_left
