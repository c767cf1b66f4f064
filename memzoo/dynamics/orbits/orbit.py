"""Orbits of a self-map, row by row, until each settles."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import apply_map, check_batch, check_module, check_steps
from memzoo._types import Map
from memzoo.dynamics.tracing import LatentMap, accelerate_convolutions, latent_map, outputs_agree
from memzoo.errors import InvalidArgumentError

SETTLED = 8  # a step below this many units in the last place of |x| is rounding noise (float32 plateaus near 3 of them)
COMPACT = 10  # gathering rows costs a pass over all of them
LONG = 10**8  # numbers computed by all steps together, above which it pays to look for latent coordinates


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
    """Snapshots ``{t: f^t(x0)}`` for the requested t."""


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

    A row stops when its step :math:`\|f(x) - x\|_2 \le` ``tol`` :math:`\cdot \|x\|_2` and is not evaluated again; an
    orbit that is still moving is a result (``converged`` is False), not an error. A small step is no proof of a fixed
    point: near an attractor of radius r the distance left is about step / (1 - r).

    Args:
        f: Self-map; modules in eval mode. Runs in the dtype and on the device of ``x0``.
        x0: Starts.
        steps: Most applications of ``f``.
        keep: Times t whose points :math:`f^t(x_0)` are kept.
        tol: Relative step that counts as settled; 8 units in the last place when left out, 0 to never stop early.
        block: Rows evaluated at one time.
        latent: Where the first and last layers are affine and narrow inside, iterate in the coordinates of the last
            layer's range (:func:`memzoo.dynamics.latent_map`): the same map, with fewer operations and other rounding.
            None does so where it saves time, False never.

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
    check_module(f)
    check_steps(steps)
    wanted = set(keep)
    if any(t < 0 or t > steps for t in wanted):
        raise InvalidArgumentError(f"keep holds {sorted(wanted)}, but only t = 0..{steps} are computed; raise steps.")
    fast = None if latent is False else accelerate_convolutions(f, x0, steps)
    march, kept = _marched(f if fast is None else fast, f, x0, steps, wanted, tol, block, latent)
    if fast is not None and not outputs_agree(fast, f, march.points, block):
        march, kept = _marched(f, f, x0, steps, wanted, tol, block, latent)
    for t in sorted(wanted - kept.keys()):  # every row had settled
        kept[t] = march.points.clone()
    points = march.points
    residual = torch.cat([(apply_map(f, rows) - rows).flatten(1).norm(dim=1) for rows in points.split(block)])
    residual = torch.where(march.diverged, torch.inf, residual)
    return Orbit(points, march.converged, march.diverged, march.taken, residual, kept)


def _marched(
    step: Map, f: Map, x0: Tensor, steps: int, wanted: set[int], tol: float | None, block: int, latent: bool | None
) -> tuple["March", dict[int, Tensor]]:
    """The orbits, by ``step`` or in the latent form of ``f``, and their snapshots until all have settled."""
    march = March(step, x0, tol=tol, block=block)
    kept = {0: x0.clone()} if 0 in wanted else {}
    for t in range(1, steps + 1):
        march.step()
        if t == 1 and (form := worth_it(f, x0, steps, latent)) is not None:
            march.enter(form)
        if t in wanted:
            kept[t] = march.points.clone()
        if not march.moving.any():
            break
    return march, kept


def worth_it(f: Map, x0: Tensor, steps: int, latent: bool | None) -> LatentMap | None:
    """The latent form of ``f``, where it exists, is allowed, and saves more than it costs to find."""
    if latent is False or (latent is None and x0.numel() * steps < LONG):
        return None
    return latent_map(f, x0)


class March:
    """The state of a batch of orbits; the rows that still move lie together in ``work``.

    A settled row keeps its point at once, but leaves the work only when a quarter of it has settled, and every
    ``COMPACT`` steps.
    """

    f: Map
    block: int
    spare: Tensor
    home: Tensor

    def __init__(self, f: Map, x0: Tensor, *, tol: float | None, block: int) -> None:
        self.f, self.block = f, block
        self.tol: float = SETTLED * torch.finfo(x0.dtype).eps if tol is None else tol
        self.work: Tensor = x0.clone(memory_format=torch.contiguous_format)
        self.spare, self.home = torch.empty_like(self.work), self.work.clone()
        self.rows: Tensor = torch.arange(len(x0), device=x0.device)
        self.moving: Tensor = torch.ones(len(x0), dtype=torch.bool, device=x0.device)
        self.converged: Tensor = torch.zeros_like(self.moving)
        self.diverged: Tensor = torch.zeros_like(self.moving)
        self.taken: Tensor = torch.zeros_like(self.rows)
        self.age: int = 0
        self.latent: LatentMap | None = None
        self.apart: float = 0.0  # distance from the origin to the subspace of latent coordinates

    @property
    def points(self) -> Tensor:
        """The points of all rows, in a tensor that later reads write to again."""
        self._send_home()
        return self.home

    def enter(self, latent: LatentMap) -> None:
        """Go on in latent coordinates; the rows that still move have taken a step, so they lie in the range."""
        self._compact()
        self.latent, self.f, self.apart = latent, latent.step, latent.range.centre.norm().item()
        self.work = latent.range.coordinates(self.work).to(self.work.dtype)
        self.spare = torch.empty_like(self.work)

    def step(self) -> Tensor:
        """One application of ``f`` to the rows that still move; the L2 lengths of the steps of the rows in work."""
        self.age += 1
        idle = len(self.moving) - int(self.moving.sum())
        if idle == len(self.moving):
            return torch.zeros_like(self.rows, dtype=self.work.dtype)
        if idle and (4 * idle >= len(self.moving) or self.age % COMPACT == 0):
            self._compact()
        before, after = self.work, self.spare[: len(self.work)]
        sizes, lengths = [], []
        for old, new in zip(before.split(self.block), after.split(self.block), strict=True):
            new.copy_(apply_map(self.f, old))
            sizes.append(new.flatten(1).norm(dim=1))
            lengths.append((new - old).flatten(1).norm(dim=1))
        size, length = torch.cat(sizes), torch.cat(lengths)
        if self.latent is not None:
            size = torch.hypot(size, size.new_tensor(self.apart))
        finite = size.isfinite()
        if not finite.all():  # squares overflow before the points do
            row = (~finite).nonzero().flatten()
            finite[row] = after[row].flatten(1).isfinite().all(1)
        settled = size.isfinite() & (length <= self.tol * size)
        if self.tol == 0:  # squares underflow before the step is zero
            row = settled.nonzero().flatten()
            settled[row] = (after[row] == before[row]).flatten(1).all(1)
        moved = self.moving & finite
        self.taken[self.rows[moved]] += 1
        self.converged[self.rows[self.moving & settled]] = True
        self.diverged[self.rows[self.moving & ~finite]] = True
        if not moved.all():
            after[~moved], length[~moved] = before[~moved], 0
        self.work, self.spare = after, self.work
        self.moving = moved & ~settled
        return length

    def _send_home(self) -> None:
        self.home[self.rows] = self.work if self.latent is None else self.latent.lift(self.work)

    def _compact(self) -> None:
        self._send_home()
        self.work, self.rows = self.work[self.moving], self.rows[self.moving]
        self.moving = self.moving[self.moving]
