"""Measure which examples the orbits of many starts come close to, and when.

The recovery probability R_t is defined in Section 3 of Radhakrishnan, Yang, Belkin and Uhler (arXiv 1810.10333).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import HALF, check_batch, check_map, check_same_shape, check_steps
from memzoo._types import Map
from memzoo._user_warning import warn_user
from memzoo.dynamics.orbits.distance import nearest
from memzoo.dynamics.orbits.distance_bounds import float32_products_are_exact
from memzoo.dynamics.orbits.duplicates import select_distinct
from memzoo.dynamics.orbits.example_eps import format_eps, resolve_eps
from memzoo.dynamics.orbits.neighbours import NeighbourTracker
from memzoo.dynamics.orbits.orbit import OrbitBatch, choose_latent_map, follow_by_fast_map, iterate
from memzoo.dynamics.tracing import leave_no_trace, output_range, promote_to_float64

OFFSETS = 3
"""Smallest sensible eps, in units of the median offset: half of the offsets are larger than their median."""
SAMPLE = 256
"""Examples whose fixed points are looked for."""


@dataclass(frozen=True)
class RecoveryCurve:
    """What :func:`recovery_curve` found; T is the number of steps, n of examples, B of starts."""

    rate: Float[Tensor, " time"]
    """R_t for t = 0..T: share of examples with the orbit of some start within ``eps`` of them at time t."""
    ever: Float[Tensor, " time"]
    """Share of examples recovered at or before t. R_t itself need not be monotone."""
    arrived: Float[Tensor, " time"]
    """Share of starts within ``eps`` of some example at time t."""
    recovered_at: Int[Tensor, " n"]
    """First t at which each example is recovered, -1 if never."""
    reached: Bool[Tensor, " n"]
    """Examples with the orbit of some start within ``eps`` of them at time T: R_T is their share."""
    ended_at: Int[Tensor, " batch"]
    """Example within ``eps`` of the last point of each start, any of them if balls overlap; -1 if there is none, or if
    the orbit has diverged."""
    unrecoverable: Bool[Tensor, " n"]
    """Proven: no orbit comes within ``eps`` of the example at any t >= 1, from any start, rounding in the type of the
    orbits included. False says nothing: many maps have no narrow affine last layer, or its rounding is too large."""
    eps: Float[Tensor, " n"]
    """Radius of each example in L2, given or derived from the examples."""
    offset: float
    """Median L2 distance of the fixed points from their examples: of the orbits of at most 256 examples, those that
    stay near their own example count; NaN if none does."""
    points: Float[Tensor, "batch *shape"]
    """Last point of each orbit; of a diverged orbit the last finite one, which counts at its own time only."""


@leave_no_trace
@torch.no_grad()
def recovery_curve(
    f: Map,
    starts: Float[Tensor, "batch *shape"],
    examples: Float[Tensor, "n *shape"],
    steps: int = 200,
    eps: float | Float[Tensor, " n"] | None = None,
    *,
    tol: float | None = 0.0,
    block: int = 1024,
    latent: bool | None = None,
    offset: float | None = None,
) -> RecoveryCurve:
    r"""Compute the recovery probability :math:`R_t = P_{x_0}(\min_z \|f^t(z) - x_0\|_2 < \epsilon)`.

    Section 3 of the paper defines it; the probability is over the examples and the minimum over the starts. Distances
    are decided in float64 for the points as computed and the examples as given, at every ``eps``, and only for starts
    that have moved far enough to change a decision. A step therefore costs little more than ``f``.

    Args:
        f: Self-map; modules in eval mode.
        starts: Points z the iteration starts from, held out from training or noise.
        examples: Training examples.
        steps: T, the number of iterations.
        eps: Radius of recovery, one for all examples or one for each; :func:`memzoo.dynamics.example_eps` when left
            out.
        tol: Relative step at which an orbit is frozen. 0, the default, freezes only orbits that no longer move at all,
            which is exact. None takes the resolution of the arithmetic, as :func:`memzoo.dynamics.iterate` does: it is
            faster, because settled starts are not evaluated, but it misses a drift of single units in the last place.
        block: Rows evaluated at one time.
        latent: As in :func:`memzoo.dynamics.iterate`.
        offset: Median distance of the fixed points from their examples if it is known already, or NaN if nobody needs
            it. When left out, it is measured, by an orbit from each of up to 256 examples.

    Raises:
        NonFiniteError: NaN or infinity in the points or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: Starts and examples of different shapes, ``eps`` not positive.

    Warns:
        UserWarning: ``eps`` is near the resolution of the arithmetic, or small beside the distance of the fixed points
            from their examples.

    Example:
        >>> examples = torch.tensor([[1.0], [-1.0]])
        >>> curve = recovery_curve(lambda x: x.sign(), torch.tensor([[0.3], [2.0]]), examples)
        >>> curve.rate[:3], curve.ended_at
        (tensor([0.0000, 0.5000, 0.5000]), tensor([0, 0]))
    """
    check_batch(starts, "starts")
    check_batch(examples, "examples")
    check_same_shape(starts, examples, "starts and examples")
    check_steps(steps)
    check_map(f, starts, promote_to_float64)
    latent = False if starts.dtype in HALF else latent  # products in half precision are another map
    radii = resolve_eps(eps, examples)
    resolution = 100 * torch.finfo(starts.dtype).eps * examples.flatten(1).double().norm(dim=1).max().item()
    if radii.min() < resolution:
        warn_user(
            f"eps = {format_eps(radii)} is near the resolution of {starts.dtype} orbits at this scale "
            f"({resolution:.2g}): attractors may count as not recovered; iterate in float64 or raise eps.",
        )

    if offset is None:
        offset = _measure_offset(f, select_distinct(examples), starts.dtype, steps, block)
    if radii.quantile(0.5) < OFFSETS * offset:
        warn_user(
            f"eps = {format_eps(radii)} is below {OFFSETS} times the distance of the fixed points from their examples "
            f"(median {offset:.2g}): attractors may count as not recovered; raise eps or train longer.",
        )

    def follow(step: Map) -> tuple[OrbitBatch, _Record]:
        return _follow(step, f, starts, examples, steps, radii, tol, block, latent)

    orbits, record = follow_by_fast_map(follow, f, starts, steps, block=block, latent=latent)
    return RecoveryCurve(
        rate=torch.stack(record.rate),
        ever=torch.stack(record.ever),
        arrived=torch.stack(record.arrived),
        recovered_at=record.recovered_at,
        reached=record.neighbours.reached,
        ended_at=record.neighbours.example_near,
        unrecoverable=_find_unrecoverable(f, starts, orbits.points, examples, radii),
        eps=radii,
        offset=offset,
        points=orbits.points,
    )


@dataclass(frozen=True)
class _Record:
    """What was observed while the orbits were followed; one entry a time in each list."""

    neighbours: NeighbourTracker
    """The pairs at the last time."""
    recovered_at: Tensor
    rate: list[Tensor]
    ever: list[Tensor]
    arrived: list[Tensor]


def _follow(
    step: Map,
    f: Map,
    starts: Tensor,
    examples: Tensor,
    steps: int,
    eps: Tensor,
    tol: float | None,
    block: int,
    latent: bool | None,
) -> tuple[OrbitBatch, _Record]:
    """Follow all orbits by ``step``, or in the latent form of ``f``, and record which examples they come near to."""
    orbits = OrbitBatch(step, starts, tol=tol, block=block)
    neighbours = NeighbourTracker(starts.flatten(1), examples.flatten(1), eps)
    recovered_at = torch.full((len(examples),), -1, device=starts.device)
    rate: list[Tensor] = []
    ever: list[Tensor] = []
    arrived: list[Tensor] = []
    for t in range(steps + 1):
        if t:
            length = orbits.step()
            # Rows that have settled do not move, so their pairs stay as they are.
            neighbours.move(orbits.rows, *_leave_diverged_out(orbits, length))
        if t == 1 and not orbits.diverged.any() and (form := choose_latent_map(f, starts, steps, latent)) is not None:
            # From here on all points lie in the range of f, and distances are those of coordinates and offsets.
            y = form.range.coordinates(orbits.points).to(starts.dtype)
            within_range = form.range.coordinates(examples)
            orbits.enter(form)
            del neighbours  # it holds a copy of the examples
            neighbours = NeighbourTracker(y, within_range, eps, offset=form.range.offset(examples))
        recovered_at[neighbours.reached & (recovered_at < 0)] = t
        rate.append(neighbours.reached.float().mean())
        ever.append((recovered_at >= 0).float().mean())
        arrived.append((neighbours.example_near >= 0).float().mean())
    return orbits, _Record(neighbours, recovered_at, rate, ever, arrived)


def _leave_diverged_out(orbits: OrbitBatch, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the current points and the lengths of their steps; an orbit that has diverged is near to nothing."""
    points = orbits.current.flatten(1)
    diverged = orbits.diverged[orbits.rows]
    if not diverged.any():
        return points, length
    return points.masked_fill(diverged[:, None], torch.nan), length.masked_fill(diverged, torch.inf)


def _find_unrecoverable(f: Map, starts: Tensor, points: Tensor, examples: Tensor, eps: Tensor) -> Tensor:
    """Find the examples farther than ``eps`` from everything that the affine last layers of ``f`` can produce.

    The rounding of these layers, in the type of the orbits, may lead out of their range. If an image of ``f`` lies
    farther outside than that, the range is not that of ``f`` everywhere, and nothing is proven.
    """
    nothing = torch.zeros(len(examples), dtype=torch.bool, device=examples.device)
    # Autocast changes the arithmetic of a module in a way that its trace may not show.
    reach = None if torch.is_autocast_enabled(starts.device.type) else output_range(f, examples)
    if reach is None:
        return nothing
    unit = torch.finfo(starts.dtype).eps
    if starts.dtype == torch.float32 and not float32_products_are_exact():
        unit = torch.finfo(torch.bfloat16).eps
    images = torch.cat([f(starts[:SAMPLE]), f(points[:SAMPLE])])
    images = images[images.flatten(1).isfinite().all(1)]
    allowed = reach.bound_rounding(images, images.new_zeros(len(images), dtype=torch.float64), unit)
    if (reach.offset(images) > allowed).any():
        return nothing
    return reach.offset(examples) > eps + reach.bound_rounding(examples, eps, unit)


def _measure_offset(f: Map, examples: Tensor, dtype: torch.dtype, steps: int, block: int) -> float:
    """Measure the median distance from an example to the end of its own orbit, of those that end clearly near it."""
    sample = torch.arange(0, len(examples), math.ceil(len(examples) / SAMPLE), device=examples.device)
    orbit = iterate(f, examples[sample].to(dtype), steps, block=block)
    distance = (orbit.points.double() - examples[sample].double()).flatten(1).norm(dim=1)
    rival = nearest(orbit.points, examples).second
    if len(examples) == 1:  # there is no other example: the orbit may go as far as the origin
        rival = examples.double().flatten(1).norm(dim=1)
    # An orbit that still moves has arrived if its last step is small beside the way that it has gone.
    arrived = orbit.converged | (orbit.residual <= 0.01 * distance)
    near = distance[arrived & (2 * distance <= rival)]
    return near.quantile(0.5).item() if len(near) else math.nan
