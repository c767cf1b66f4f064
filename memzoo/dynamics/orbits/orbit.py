"""Iterate a self-map from many starts at once, each row until it settles."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import HALF, apply_map, check_batch, check_map, check_steps
from memzoo._types import Map
from memzoo.dynamics.tracing import (
    LatentMap,
    accelerate_convolutions,
    latent_map,
    leave_no_trace,
    outputs_agree,
    promote_to_float64,
)
from memzoo.errors import InvalidArgumentError

SETTLED = 8
"""Units in the last place of |x| below which a step is rounding noise; float32 orbits rest near 3 of them."""
COMPACT = 10
"""Steps between two removals of settled rows: gathering the others costs a pass over all of them."""
LONG = 10**8
"""Numbers computed by all steps together from which on it pays to look for latent coordinates."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Orbit:
    """Where :func:`iterate` ended, one row a start."""

    points: Float[Tensor, "batch *shape"]
    """Last point of each orbit; of a diverged orbit the last finite one."""
    converged: Bool[Tensor, " batch"]
    """The step fell below the resolution of the arithmetic."""
    diverged: Bool[Tensor, " batch"]
    """The orbit left the range of the floating-point type."""
    steps: Int[Tensor, " batch"]
    """Steps taken until then."""
    residual: Float[Tensor, " batch"]
    r"""L2 norm of :math:`f(x) - x` at the last point; infinity where diverged."""
    kept: dict[int, Tensor]
    """Snapshots ``{t: f^t(x0)}`` for the requested t; NaN in the rows of orbits that had diverged by then."""


@leave_no_trace
@torch.no_grad()
def iterate(
    f: Map,
    x0: Float[Tensor, "batch *shape"],
    steps: int = 200,
    *,
    keep: Iterable[int] = (),
    tol: float | None = None,
    block: int = 1024,
    latent: bool | None = None,
) -> Orbit:
    r"""Apply ``f`` up to ``steps`` times to each row of ``x0``.

    A row stops when its step :math:`\|f(x) - x\|_2 \le` ``tol`` :math:`\cdot \|x\|_2` and is not evaluated again. An
    orbit that is still moving is a result (``converged`` is False), not an error. A small step does not prove a fixed
    point: near an attractor of spectral radius r the remaining distance is about step / (1 - r).

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``x0``.
        x0: Starts.
        steps: Most applications of ``f``.
        keep: Times t whose points :math:`f^t(x_0)` are kept.
        tol: Relative step that counts as settled; 8 units in the last place when left out, 0 to never stop early.
        block: Rows evaluated at one time.
        latent: Where the first and last layers are affine and narrow inside, iterate in the coordinates of the last
            layer's range (:func:`memzoo.dynamics.latent_map`): the same map, with fewer operations and other rounding.
            None does so if it saves time, False never does.

    Raises:
        NonFiniteError: NaN or infinity in ``x0`` or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.
        ValueError: ``keep`` beyond ``steps``.

    Example:
        >>> orbit = iterate(lambda x: x / 2 + 1, torch.zeros(1, 3), steps=60)
        >>> orbit.points, orbit.converged
        (tensor([[2.0000, 2.0000, 2.0000]]), tensor([True]))
    """
    check_batch(x0, "x0")
    check_steps(steps)
    check_map(f, x0, promote_to_float64)
    latent = False if x0.dtype in HALF else latent  # products in half precision are another map
    wanted = set(keep)
    if any(t < 0 or t > steps for t in wanted):
        raise InvalidArgumentError(f"keep holds {sorted(wanted)}, but only t = 0..{steps} are computed; raise steps.")

    def follow(step: Map) -> tuple[OrbitBatch, dict[int, Tensor]]:
        return _follow(step, f, x0, steps, wanted, tol, block, latent)

    orbits, kept = follow_by_fast_map(follow, f, x0, steps, block=block, latent=latent)
    points = orbits.points
    for t in sorted(wanted - kept.keys()):  # every row had settled or diverged before these times
        kept[t] = orbits.take_snapshot()
    # One more evaluation at the points themselves: settled rows were not evaluated since they settled.
    wide = torch.promote_types(x0.dtype, torch.float32)  # a norm leaves the range of float16 long before its numbers do
    steps_left = [apply_map(f, rows).to(wide) - rows.to(wide) for rows in points.split(block)]
    residual = torch.cat([step.flatten(1).norm(dim=1) for step in steps_left])
    residual = torch.where(orbits.diverged, torch.inf, residual)
    return Orbit(points, orbits.converged, orbits.diverged, orbits.steps_taken, residual, kept)


class OrbitBatch:
    """Step many orbits at once, and stop each row when it settles or diverges.

    The rows that still move lie together in ``current``. A row that settles keeps its point at once, but leaves
    ``current`` only when a quarter of the rows there has settled, and every ``COMPACT`` steps.

    Args:
        f: Self-map.
        x0: Starts.
        tol: Relative step that counts as settled; None takes ``SETTLED`` units in the last place.
        block: Rows evaluated at one time.
    """

    def __init__(self, f: Map, x0: Tensor, *, tol: float | None, block: int) -> None:
        self._f = f
        self._tol = SETTLED * torch.finfo(x0.dtype).eps if tol is None else tol
        self._block = block
        self.current: Tensor = x0.clone(memory_format=torch.contiguous_format)
        """Points of ``rows``, or their latent coordinates after :meth:`enter`."""
        self.rows: Tensor = torch.arange(len(x0), device=x0.device)
        """Indices of the orbits whose points lie in ``current``."""
        self.moving: Tensor = torch.ones(len(x0), dtype=torch.bool, device=x0.device)
        """Which of ``rows`` have neither settled nor diverged."""
        self.converged: Tensor = torch.zeros_like(self.moving)
        self.diverged: Tensor = torch.zeros_like(self.moving)
        self.steps_taken: Tensor = torch.zeros_like(self.rows)
        self._spare = torch.empty_like(self.current)
        self._points = self.current.clone()
        self._age = 0
        self._latent: LatentMap | None = None
        self._centre_norm = 0.0  # distance from the origin to the subspace of latent coordinates

    @property
    def points(self) -> Tensor:
        """Return the points of all orbits, in a tensor that the next read overwrites."""
        self._store()
        return self._points

    def take_snapshot(self) -> Tensor:
        """Copy the points of all orbits, NaN where an orbit has diverged: it is nowhere now."""
        snapshot = self.points.clone()
        snapshot[self.diverged] = torch.nan
        return snapshot

    def enter(self, latent: LatentMap) -> None:
        """Switch to latent coordinates; every moving row has taken a step, so it lies in the range of ``f``."""
        self._compact()
        self._latent = latent
        self._f = latent.step
        self._centre_norm = latent.range.centre.norm().item()
        self.current = latent.range.coordinates(self.current).to(self.current.dtype)
        self._spare = torch.empty_like(self.current)

    def step(self) -> Tensor:
        """Apply ``f`` once to the rows that still move, and return the L2 lengths of the steps of ``rows``."""
        self._age += 1
        idle = len(self.moving) - int(self.moving.sum())
        if idle == len(self.moving):
            return torch.zeros_like(self.rows, dtype=self.current.dtype)
        # Idle rows are evaluated in vain, but each removal copies all others.
        if idle and (4 * idle >= len(self.moving) or self._age % COMPACT == 0):
            self._compact()
        before = self.current
        after, size, length = self._evaluate()
        finite = self._find_finite(after, size)
        settled = self._find_settled(before, after, size, length)
        moved = self.moving & finite
        self.steps_taken[self.rows[moved]] += 1
        going_on = moved & ~settled
        if not torch.equal(going_on, self.moving):
            self.converged[self.rows[self.moving & settled]] = True
            self.diverged[self.rows[self.moving & ~finite]] = True
        if not moved.all():  # rows that rest or diverge stay where they are
            after[~moved] = before[~moved]
            length[~moved] = 0
        # The two buffers change places, so that no step allocates memory for points.
        self.current = after
        self._spare = before
        self.moving = going_on
        return length

    def _evaluate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Apply ``f`` to ``current``: the new points, their L2 norms and the lengths of the steps."""
        after = self._spare[: len(self.current)]
        sizes: list[Tensor] = []
        lengths: list[Tensor] = []
        for old, new in zip(self.current.split(self._block), after.split(self._block), strict=True):
            new.copy_(apply_map(self._f, old))
            sizes.append(torch.linalg.vector_norm(new.flatten(1), dim=1))
            lengths.append(torch.linalg.vector_norm((new - old).flatten(1), dim=1))
        size = torch.cat(sizes)
        if self._latent is not None:  # Pythagoras: |x|^2 = |y|^2 + |centre|^2
            size = torch.hypot(size, size.new_tensor(self._centre_norm))
        return after, size, torch.cat(lengths)

    def _find_finite(self, points: Tensor, size: Tensor) -> Tensor:
        """Find the rows whose points are finite."""
        finite = size.isfinite()
        if not finite.all():  # squares overflow before the points do
            row = (~finite).nonzero().flatten()
            suspects = points[row] if self._latent is None else self._latent.lift(points[row])
            finite[row] = suspects.flatten(1).isfinite().all(1)
        return finite

    def _find_settled(self, before: Tensor, after: Tensor, size: Tensor, length: Tensor) -> Tensor:
        """Find the rows whose step is below the tolerance."""
        settled = size.isfinite() & (length <= self._tol * size)
        if self._tol == 0:  # squares underflow before the step is zero
            row = settled.nonzero().flatten()
            settled[row] = (after[row] == before[row]).flatten(1).all(1)
        return settled

    def _store(self) -> None:
        """Write the points of ``rows`` to their places among all orbits."""
        self._points[self.rows] = self.current if self._latent is None else self._latent.lift(self.current)

    def _compact(self) -> None:
        """Remove the rows that no longer move from ``current``."""
        self._store()
        self.current = self.current[self.moving]
        self.rows = self.rows[self.moving]
        self.moving = self.moving[self.moving]


def follow_by_fast_map(
    follow: Callable[[Map], tuple[OrbitBatch, Result]],
    f: Map,
    x0: Tensor,
    steps: int,
    *,
    block: int,
    latent: bool | None,
) -> tuple[OrbitBatch, Result]:
    """Follow orbits by an accelerated form of ``f``, if there is one and it agrees with ``f`` where the orbits end.

    Args:
        follow: Function that follows all orbits of a map, and returns them with what was observed.
        f: Self-map.
        x0: Starts.
        steps: Most applications of ``f``.
        block: Rows evaluated at one time.
        latent: As in :func:`iterate`; False also forbids the accelerated form.
    """
    fast = None if latent is False else accelerate_convolutions(f, x0, steps)
    if fast is not None:
        orbits, result = follow(fast)
        if outputs_agree(fast, f, orbits.points, block):
            return orbits, result
    return follow(f)


def choose_latent_map(f: Map, x0: Tensor, steps: int, latent: bool | None) -> LatentMap | None:
    """Return the form of ``f`` in latent coordinates if it is asked for, or where it saves time; else None."""
    if latent is False or (latent is None and x0.numel() * steps < LONG):
        return None
    return latent_map(f, x0)


def _follow(
    step: Map, f: Map, x0: Tensor, steps: int, wanted: set[int], tol: float | None, block: int, latent: bool | None
) -> tuple[OrbitBatch, dict[int, Tensor]]:
    """Follow the orbits by ``step``, or in the latent form of ``f``, until all have settled; keep the snapshots."""
    orbits = OrbitBatch(step, x0, tol=tol, block=block)
    kept = {0: x0.clone()} if 0 in wanted else {}
    for t in range(1, steps + 1):
        orbits.step()
        if t == 1 and (form := choose_latent_map(f, x0, steps, latent)) is not None:
            orbits.enter(form)
        if t in wanted:
            kept[t] = orbits.take_snapshot()
        if not orbits.moving.any():
            break
    return orbits, kept
