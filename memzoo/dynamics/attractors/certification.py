"""Certify training examples as attractors.

The way of an example through :func:`certify`:

1. Iterate from the example in float64. Its limit is then the one whose basin holds the example.
2. Polish the limit by a few steps of Newton's method. An orbit that is still open is followed on.
3. Prove the fixed point: its residual is at the level of rounding.
4. Compute the spectral radius of the Jacobian at each limit, with an error bound. By Theorem 2 of Radhakrishnan, Yang,
   Belkin and Uhler (arXiv 1810.10333) a fixed point is an attractor if the radius is below 1.
5. Push what would be an attractor: since the Jacobian says nothing at a kink, pushes must not grow either.
6. Tell the limits of different examples apart.
"""

import time
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memzoo._checks import check_batch, check_map, check_steps
from memzoo._types import Map
from memzoo.dynamics.attractors.basin import basin_radius
from memzoo.dynamics.attractors.certificate import Certificates, find_contracting
from memzoo.dynamics.attractors.estimate import announce_long_work
from memzoo.dynamics.attractors.half_precision import confirm_in_half_precision
from memzoo.dynamics.attractors.orbit_limits import OrbitLimits, choose_quick_map, find_orbit_limits
from memzoo.dynamics.attractors.pushes import push_points
from memzoo.dynamics.attractors.shared_limits import find_shared_limits, measure_distances, measure_group_offsets
from memzoo.dynamics.orbits import SETTLED, resolve_eps, resolve_groups
from memzoo.dynamics.spectra import (
    Derivative,
    Jacobians,
    Method,
    Spectrum,
    check_differentiable_self_map,
    compute_spectrum,
)
from memzoo.dynamics.tracing import leave_no_trace, promote_to_float64

REACH = 0.1
"""Times eps: how far Newton's method may move a limit, and within which a point is taken to belong to a limit."""
LONGER = 20
"""Times the number of steps, for which what is still open is followed."""
CURVATURE = 1e3
"""Assumed largest change of the spectral radius per relative distance from the point where it is computed."""
PUSH = 1e-3
"""Length of a push in units of eps."""
COARSE_PUSH = 0.5
"""The same where the outputs of the map rest under small steps."""
LARGEST_EPS = 0.05
"""Share of the norm of an example beyond which a larger eps makes no larger pushes."""
SHARP = 300
"""Least length of a push, in units in the last place of the point."""
BLUNT = 30
"""The same where eps leaves no room for more. With less than this the arithmetic cannot tell what an attractor is."""


@leave_no_trace
@confirm_in_half_precision
@torch.no_grad()
def certify(
    f: Map,
    examples: Float[Tensor, "n *shape"],
    eps: float | Float[Tensor, " n"] | None = None,
    *,
    steps: int = 1000,
    group: Int[Tensor, " n"] | None = None,
    method: Method | None = None,
    directions: int = 0,
    memory_limit: int = 2**30,
) -> Certificates:
    r"""Certify each training example as an attractor, or not.

    Trained to a small loss, a network maps an example *near* itself; the attractor is a true fixed point
    :math:`x^* = f(x^*)` nearby. It is found by iterating from the example, so that its basin holds the example, and
    polished by Newton's method in float64, which may not leave the neighbourhood. The certificate then asks for a fixed
    point within ``eps``, shared with no other example, of spectral radius < 1 beyond the error bound (Theorem 2 of the
    paper), to which small pushes come back. Untrained and constant maps certify nothing, although their radius is near
    0. What is found depends on the map and the example alone: not on the order or the number of the examples, nor on
    the number of threads.

    Args:
        f: Self-map; modules in eval mode.
        examples: Training examples.
        eps: Radius, or one for each example; :func:`memzoo.dynamics.example_eps` when left out.
        steps: Most iterations from each example; orbits that are then still open are followed up to 20 times as long.
        group: A number for each example; those of equal numbers count as one. When left out, near-copies
            (:func:`memzoo.dynamics.group_near_copies`) count as one if ``eps`` is left out too, else exact duplicates.
        method: As in :func:`memzoo.dynamics.spectrum`.
        directions: Estimate the radius of each attractor's basin with this many random points a ball; 32 is a good
            number, 0 leaves it out. Costs more than all the rest: at most 29 times that many orbits an attractor.
        memory_limit: Bytes for the Jacobians in work at one time.

    Returns:
        Cost: at most ``steps`` evaluations of f in float64 (20 times as many where an orbit stays open), four Jacobians
        for each example whose orbit is still moving then, one eigensolve a *distinct* limit, and for each example that
        would be an attractor some fifty evaluations or more.

    Raises:
        NonFiniteError: NaN or infinity in the examples or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        InvalidArgumentError: ``eps`` is not above 0, or there is another number of radii, or of entries in ``group``,
            than of examples.

    Example:
        >>> examples = torch.tensor([[1.0], [-1.0], [0.0]])
        >>> certificates = certify(lambda x: torch.tanh(3 * x) / torch.tanh(torch.tensor(3.0)), examples)
        >>> certificates.attractor
        tensor([ True,  True, False])
    """
    check_batch(examples, "examples")
    check_steps(steps)
    group = resolve_groups(group, eps, examples)
    eps = resolve_eps(eps, examples)
    check_map(f, examples, promote_to_float64)
    started = time.perf_counter()
    check_differentiable_self_map(f, examples)
    announce_long_work("certify", f, examples, steps, time.perf_counter() - started)
    jacobians = Jacobians(f, examples, method, memory_limit, unit=float(eps.median()))
    uniform = compute_spectrum(jacobians, examples[:1], top=1, strict=False) if jacobians.affine else None

    # 1, 2, 3. Iterate, polish, prove.
    wide = choose_quick_map(f, jacobians, examples)
    reach, follow_on = _choose_reach(uniform, REACH * eps)
    early = jacobians.method == "arnoldi" and not jacobians.affine  # elsewhere an orbit costs less than a Jacobian
    ends = find_orbit_limits(wide, jacobians, examples, steps, reach, follow_on=follow_on, early=early)
    radius, error, derivative = _compute_radii(jacobians, ends, examples, eps)
    rows = (ends.early & ~(radius + error < 1)).nonzero().flatten()
    if len(rows):  # orbits that may leave the point beside which they came to rest
        later = find_orbit_limits(wide, jacobians, examples[rows], steps, reach[rows], follow_on=follow_on)
        ends = ends.replace_rows(rows, later)
        radius, error, derivative = _compute_radii(jacobians, ends, examples, eps)
    points = ends.points
    flat = points.flatten(1)
    size = _measure_sizes(points, examples)
    scale = size.clamp(min=1e-30)

    # 4. Spectrum. To first order, the fixed point is |residual| / |1 - radius| away along the leading direction. Where
    # the radius is unknown, the residual itself is reported; no verdict depends on it there.
    slowness = 1 / (1 - radius).abs().nan_to_num(1.0)
    by_radius = torch.where(ends.residual == 0, 0.0, ends.residual * slowness)
    location_error = torch.maximum(ends.step_left.norm(dim=1).double(), by_radius)
    is_known = ends.fixed & (location_error <= reach)
    limits = torch.finfo(examples.dtype)
    found = Certificates(
        points=points.clamp(limits.min, limits.max).to(examples.dtype),
        fixed=ends.fixed,
        open=ends.open | (ends.fixed & ~is_known),
        offset=(flat.double() - examples.flatten(1).double()).norm(dim=1),
        group_offset=measure_group_offsets(flat, examples, group),
        residual=ends.residual,
        location_error=location_error,
        radius=radius,
        radius_error=error + CURVATURE * location_error / scale,
        derivative=derivative,
        pushed=torch.zeros_like(ends.fixed),
        returns=torch.zeros_like(ends.fixed),
        ruled_out=torch.zeros_like(ends.fixed),
        distinct=torch.ones_like(ends.fixed),
        limit_of=torch.arange(len(examples), device=examples.device),
        limit=flat,
        resolution=torch.full_like(radius, torch.nan),
        eps=eps,
        basin_radius=torch.full_like(radius, torch.nan),
        basin_share=torch.nan,
    )

    # 5. Pushes, of what would be an attractor if it passed.
    found, amplification = _test_pushes(wide, jacobians.eps, found, examples, LONGER * steps)

    # 6. Tell limits apart. The rounding of one step adds up until the map has forgotten it, over all steps at most.
    location_error = torch.maximum(location_error, ends.residual.nan_to_num(posinf=0.0) * amplification)
    added_up = slowness.clamp(max=LONGER * steps + 1) + amplification
    known_error = torch.where(is_known, location_error, torch.nan)
    resolution = known_error + SETTLED * jacobians.eps * size * added_up
    shared = find_shared_limits(flat, resolution, group)
    found = replace(found, location_error=location_error, resolution=resolution, **shared._asdict())
    rows = found.attractor.nonzero().flatten()
    if not directions or not len(rows):
        return found
    basins = basin_radius(f, found.points[rows], REACH * eps[rows], directions=directions, steps=steps)
    radii = found.basin_radius.index_put((rows,), basins.radius)
    return replace(found, basin_radius=radii, basin_share=basins.share)


def _choose_reach(uniform: Spectrum | None, reach: Tensor) -> tuple[Tensor, bool]:
    """Choose how far Newton's method may move each point, and whether it matters where open orbits end.

    Where one Jacobian holds everywhere and contracts, all orbits end at the only fixed point, however far that is.
    Where it does not contract, nothing is an attractor.
    """
    if uniform is None:
        return reach, True
    contracts = bool(uniform.radius + uniform.radius_error < 1)
    return torch.full_like(reach, torch.inf) if contracts else reach, contracts


def _measure_sizes(points: Tensor, examples: Tensor) -> Float[Tensor, " n"]:
    """Measure the units of relative distances; a limit at the origin has that of its example."""
    return torch.maximum(points.flatten(1).double().norm(dim=1), examples.flatten(1).double().norm(dim=1))


def _compute_radii(
    jacobians: Jacobians, ends: OrbitLimits, examples: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor, list[Derivative]]:
    """Compute the spectral radius, its error bound and whether the derivative is right at the fixed points.

    Elsewhere the first two are NaN, and the derivative is not verified. Points at the same place share one eigensolve.
    """
    points = ends.points
    fixed = ends.fixed
    tol = torch.minimum(1e-9 * _measure_sizes(points, examples).clamp(min=1e-30), 1e-3 * eps)
    words: list[Derivative] = ["unverified"] * len(points)
    radius = torch.full_like(fixed, torch.nan, dtype=torch.float64)
    error = radius.clone()
    flat = points.flatten(1)
    same = measure_distances(flat, flat) <= tol[:, None]
    # Of all fixed points at the same place the first one stands for the others.
    first = (same & fixed).int().argmax(1)
    chosen = first[fixed].unique()
    if not len(chosen):
        return radius, error, words
    found = compute_spectrum(jacobians, points[chosen], top=1, strict=False)
    radius[chosen] = found.radius
    error[chosen] = found.radius_error
    known = dict(zip(chosen.tolist(), found.derivative, strict=True))
    for row in fixed.nonzero().flatten().tolist():
        words[row] = known[int(first[row])]
    return torch.where(fixed, radius[first], torch.nan), torch.where(fixed, error[first], torch.nan), words


def _test_pushes(
    f: Map, rounding: float, found: Certificates, examples: Tensor, steps: int
) -> tuple[Certificates, Float[Tensor, " n"]]:
    """Push the limits that would be attractors if they passed; all others do not return.

    Args:
        f: Self-map, in the arithmetic of the limits.
        rounding: Unit in the last place of that arithmetic, relative.
        found: Certificates so far.
        examples: Examples.
        steps: Most steps of a push.

    Returns:
        The certificates with what the pushes showed, and how many times an error of one step adds up; 0 where that is
        not known.
    """
    amplification = torch.zeros_like(found.radius)
    size = torch.maximum(found.limit.double().norm(dim=1), examples.flatten(1).double().norm(dim=1))
    ulp = rounding * size
    room = found.eps / 2
    largest = torch.where(size > 0, LARGEST_EPS * size, torch.inf)
    smallest_eps = torch.minimum(found.eps, largest)
    resting = torch.tensor([word == "resting" for word in found.derivative], device=room.device)
    one_sided = torch.tensor([word == "one-sided" for word in found.derivative], device=room.device)
    length = torch.where(resting, COARSE_PUSH, PUSH) * smallest_eps
    length = torch.maximum(length, torch.minimum(SHARP * ulp, room))
    pushed = find_contracting(found) & (BLUNT * ulp <= room)
    rows = pushed.nonzero().flatten()
    if not len(rows):
        return found, amplification
    points = found.limit[rows].reshape(-1, *examples.shape[1:])
    pushes = push_points(f, points, examples[rows], length[rows], steps, resting[rows], one_sided[rows])
    amplification[rows] = torch.where(pushes.return_home, pushes.amplification, 0.0)
    returns = found.returns.index_put((rows,), pushes.return_home)
    return replace(found, pushed=pushed, returns=returns), amplification
