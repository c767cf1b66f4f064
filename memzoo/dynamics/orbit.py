"""Orbits of a self-map, row by row, until each settles."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo._checks import apply_map, check_batch, check_module, check_steps
from memzoo._types import Map

SETTLED = 8  # a step below this many units in the last place of |x| is rounding noise (float32 plateaus near 3 of them)


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
        raise ValueError(f"keep holds {sorted(wanted)}, but only t = 0..{steps} are computed; raise steps.")
    march = March(f, x0, tol=tol, block=block)
    kept = {0: x0.clone()} if 0 in wanted else {}
    for t in range(1, steps + 1):
        march.step()
        if t in wanted:
            kept[t] = march.points.clone()
        if not len(march.active) and t >= max(wanted, default=0):
            break
    for t in wanted - kept.keys():  # every row had settled
        kept[t] = march.points.clone()
    residual = (march.evaluate(march.points) - march.points).flatten(1).norm(dim=1)
    residual = torch.where(march.diverged, torch.inf, residual)
    return Orbit(march.points, march.converged, march.diverged, march.taken, residual, kept)


class March:
    """The state of a batch of orbits: all points, and which rows still move."""

    def __init__(self, f: Map, x0: Tensor, *, tol: float | None, block: int) -> None:
        self.f, self.block = f, block
        self.tol = SETTLED * torch.finfo(x0.dtype).eps if tol is None else tol
        self.points = x0.clone()
        self.active = torch.arange(len(x0), device=x0.device)
        self.converged = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)
        self.diverged = torch.zeros_like(self.converged)
        self.taken = torch.zeros(len(x0), dtype=torch.long, device=x0.device)

    def evaluate(self, x: Tensor) -> Tensor:
        """``f`` on all rows of ``x``, a block at a time."""
        return torch.cat([apply_map(self.f, rows) for rows in x.split(self.block)])

    def step(self) -> None:
        """One application of ``f`` to the rows that still move."""
        if not len(self.active):
            return
        before = self.points[self.active]
        after = self.evaluate(before)
        size = after.flatten(1).norm(dim=1)
        finite = size.isfinite()
        moved = (after - before).flatten(1).norm(dim=1)
        settled = finite & (moved <= self.tol * size)
        self.points[self.active[finite]] = after[finite]
        self.taken[self.active[finite]] += 1
        self.converged[self.active[settled]] = True
        self.diverged[self.active[~finite]] = True
        self.active = self.active[finite & ~settled]
