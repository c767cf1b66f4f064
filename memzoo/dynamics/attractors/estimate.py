"""Estimate before a long measurement how many seconds and bytes it takes, and announce it."""

import logging
import math
import os
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memzoo._attempt import Attempt
from memzoo._checks import check_batch, check_map, check_same_shape, check_steps
from memzoo._types import Map
from memzoo.dynamics.attractors.orbit_limits import choose_quick_map
from memzoo.dynamics.orbits import SETTLED, iterate, predict_lengths, recovery_curve
from memzoo.dynamics.spectra import Cost, Jacobians, Price, estimate_spectrum, time_batches, time_call
from memzoo.dynamics.tracing import (
    accelerate_convolutions,
    leave_no_trace,
    promote_to_float64,
    widen_points,
)

STARTS = 200
"""Starts where none are given."""
BLOCK = 1024
"""Rows evaluated at one time."""
MANY = 64
"""Rows that are evaluated to time them, at most."""
TIMED_STEPS = 8
"""Steps of an orbit that are timed."""
TIMED_ROWS = 4
"""Orbits that are timed beside the examples."""
OPEN = 5
"""Times the number of steps, for which an orbit is followed whose steps do not shrink, in the middle of many."""
POLISHED = 60
"""Steps after the first rest of an orbit, until it rests in float64."""
PUSHED_BATCHES = 40
"""Batches of evaluations for the pushes of all limits."""
PUSHED_ROWS = 70
"""Evaluations for the pushes of one limit."""
LONG_S = 30.0
"""Seconds from which on work is announced."""
MOST_EVALUATIONS = 500
"""Evaluations of all points that work takes at most, as a rule: if these are quick, nothing is estimated."""


@dataclass(frozen=True)
class Estimate:
    """What measurements cost on this machine, one entry a function of :mod:`memzoo.dynamics`; prints as a table.

    The parts are ``orbits`` (:func:`iterate` from the starts), ``recovery`` (:func:`recovery_curve`), ``spectrum``,
    ``certify`` and ``census``. Some of them do the same work, so that their sum is no cost of anything.
    """

    seconds: dict[str, float]
    """Wall time, on as many threads as torch has now."""
    bytes: dict[str, int]
    """Most memory in work at one time, beside that of the map and the points."""
    method: str
    """The way to the Jacobians."""
    width: int
    """Number of values that cross the narrowest place of the map."""
    examples: int
    starts: int
    steps: int

    @property
    def measurement_seconds(self) -> float:
        """Return the seconds of the three parts that make up a measurement: recovery, spectrum and certificates."""
        return sum(self.seconds[name] for name in ("recovery", "spectrum", "certify"))

    def __str__(self) -> str:
        lines = [
            f"{self.examples} examples, {self.starts} starts, {self.steps} steps; "
            f"Jacobians by {self.method}, narrowest place {self.width}"
        ]
        lines += [
            f"{name:<10}{_format_seconds(self.seconds[name]):>12}{_format_bytes(self.bytes[name]):>12}"
            for name in self.seconds
        ]
        return "\n".join(lines)


def _format_seconds(seconds: float) -> str:
    """Format a duration to two digits."""
    return f"{seconds:.2g} s" if seconds < 120 else f"{seconds / 60:.2g} min"


def _format_bytes(count: int) -> str:
    """Format a number of bytes."""
    return f"{count / 2**20:.2g} MiB" if count < 1000 * 2**20 else f"{count / 2**30:.2g} GiB"


@leave_no_trace
@torch.no_grad()
def estimate(
    f: Map,
    x: Float[Tensor, "n *shape"],
    starts: Float[Tensor, "batch *shape"] | int = STARTS,
    *,
    steps: int = 200,
    memory_limit: int = 2**30,
) -> Estimate:
    """Estimate the seconds and the memory of each measurement of a map, before it is made.

    A few evaluations and the spectrum at one point are timed, and the first steps of a few orbits are followed. The
    rest is counted: how many batches and rows each algorithm needs, and when orbits will settle if they go on as they
    began. Where some orbits do not settle, or change their pace, an estimate can be off by more than a factor of two.

    Args:
        f: Self-map; modules in eval mode.
        x: Examples.
        starts: Starts of the orbits, or their number; then they are noise with the mean and the variance of ``x``.
        steps: Steps of the orbits, and of a certificate.
        memory_limit: As in :func:`memzoo.dynamics.spectrum`.

    Returns:
        The estimate. Cost: some dozens of evaluations, the spectrum at one point (at more where it is quick), and for
        the orbits half a second, or six steps.

    Raises:
        NonFiniteError: NaN or infinity in the points or in the parameters of ``f``.
        NotASelfMapError: ``f`` changes the shape.

    Example:
        >>> found = estimate(torch.nn.Linear(50, 50), torch.randn(3, 50))
        >>> sorted(found.seconds)
        ['census', 'certify', 'orbits', 'recovery', 'spectrum']
        >>> all(0 < seconds < 60 for seconds in found.seconds.values())
        True
    """
    check_batch(x, "x")
    check_steps(steps)
    if isinstance(starts, int):
        starts = _draw_noise(x, starts)
    check_batch(starts, "starts")
    check_same_shape(starts, x, "starts and x")
    x = widen_points(f, x, "x")
    starts = starts.to(x)
    check_map(f, x, promote_to_float64)
    work = _Work(f, x, memory_limit)
    orbits = work.estimate_orbits(starts, steps)
    parts = {
        "orbits": orbits,
        "recovery": work.estimate_recovery(starts, steps),
        "spectrum": work.spectrum,
        "certify": work.estimate_certificates(steps),
    }
    parts["census"] = _add(orbits, parts["certify"])
    return Estimate(
        seconds={name: cost.seconds for name, cost in parts.items()},
        bytes={name: cost.bytes for name, cost in parts.items()},
        method=work.jacobians.method,
        width=work.jacobians.width,
        examples=len(x),
        starts=len(starts),
        steps=steps,
    )


def _draw_noise(x: Tensor, count: int) -> Tensor:
    """Draw noise with the mean and the variance of the points."""
    noise = torch.randn(count, *x.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    deviation = float(x.double().std()) if x.numel() > 1 else 1.0
    return (float(x.double().mean()) + deviation * noise).to(x)


def _add(*costs: Cost) -> Cost:
    """Add the seconds of computations that are made one after another."""
    return Cost(sum(cost.seconds for cost in costs), max(cost.bytes for cost in costs))


class _Work:
    """Time the pieces of a measurement once.

    Args:
        f: Self-map.
        x: Examples.
        memory_limit: Bytes for the Jacobians.
    """

    def __init__(self, f: Map, x: Tensor, memory_limit: int = 2**30) -> None:
        self.f: Map = f
        self.x: Tensor = x
        self.jacobians = Jacobians(f, x, None, memory_limit)
        self.spectrum: Cost = estimate_spectrum(self.jacobians, x)

    def estimate_orbits(self, starts: Tensor, steps: int) -> Cost:
        """Estimate the cost of :func:`iterate`."""
        seconds, lengths = self._follow(starts, steps)
        beside = _time_steps(lambda times: iterate(self.f, starts[:1], times, tol=0.0))
        seconds += beside.of(1, float(lengths.max()))
        return Cost(seconds, self._count_bytes(len(starts), starts.dtype))

    def estimate_recovery(self, starts: Tensor, steps: int) -> Cost:
        """Estimate the cost of :func:`recovery_curve`, which also follows the examples themselves."""
        seconds, _ = self._follow(starts, steps)
        few = starts[:TIMED_ROWS]

        def recover(times: int) -> object:
            # At this radius nothing is near, and no warning is due.
            return recovery_curve(self.f, few, self.x, times, eps=self._eps, tol=0.0, offset=math.nan)

        own = self.estimate_orbits(self.x, steps)
        in_work = self._count_bytes(len(starts), starts.dtype)
        return Cost(seconds + _time_steps(recover).of(1, steps) + own.seconds, max(in_work, own.bytes))

    def estimate_certificates(self, steps: int) -> Cost:
        """Estimate the cost of :func:`certify`."""
        jacobians = self.jacobians
        count = len(self.x)
        points = self.x.to(jacobians.dtype)
        wide = choose_quick_map(self.f, jacobians, self.x)
        price = self._time_evaluations(wide, points)
        rest = SETTLED * max(torch.finfo(jacobians.dtype).eps, torch.finfo(torch.float32).eps)
        lengths = predict_lengths(wide, points, rest)
        moving = lengths > steps
        # Newton's method decides an orbit on its way to a limit. One whose steps do not shrink yet is followed on.
        follow_on = 1 if jacobians.affine else OPEN
        longest = torch.where(lengths.isinf(), follow_on * steps, steps)
        lengths = torch.minimum(lengths, longest.to(lengths)) + POLISHED
        beside = _time_steps(lambda times: iterate(wide, points[:1], times, tol=0.0))
        seconds = price.row_s * float(lengths.mean()) * count + beside.of(1, float(lengths.max()))
        settled = float((~moving).double().mean())
        seconds += price.of(PUSHED_BATCHES * settled, PUSHED_ROWS * settled * count)
        # Each step of Newton's method for an orbit that moves costs about as much as a spectrum for one that does not.
        return Cost(
            seconds + self.spectrum.seconds, max(self.spectrum.bytes, self._count_bytes(count, jacobians.dtype))
        )

    @property
    def _eps(self) -> float:
        """Return a radius that is above the resolution of the arithmetic."""
        return 1e-2 * float(self.x.flatten(1).double().norm(dim=1).max()) + 1e-6

    def _follow(self, starts: Tensor, steps: int) -> tuple[float, Tensor]:
        """Estimate the seconds in which the points of orbits are evaluated, and the lengths of some orbits."""
        fast = accelerate_convolutions(self.f, starts, steps) or self.f
        price = self._time_evaluations(fast, starts)
        lengths = predict_lengths(fast, starts, SETTLED * torch.finfo(starts.dtype).eps).clamp(max=steps)
        return price.row_s * float(lengths.mean()) * len(starts), lengths

    @staticmethod
    def _time_evaluations(f: Map, points: Tensor) -> Price:
        """Time evaluations of a map, at points that are repeated where there are few."""
        rows = points[torch.arange(MANY, device=points.device) % len(points)]
        return time_batches(lambda n: f(rows[:n]))

    def _count_bytes(self, rows: int, dtype: torch.dtype) -> int:
        """Count the bytes of the widest values of a batch, and of those that they are computed from."""
        graph = self.jacobians.graph
        widest = max(self.jacobians.dim, 0 if graph is None else graph.widest)
        return 3 * min(rows, BLOCK) * widest * torch.finfo(dtype).bits // 8


def _time_steps(follow: Callable[[int], object]) -> Price:
    """Time the steps of orbits of few rows, and what is done before and after them."""
    first = time_call(lambda: follow(1))
    return Price(first, max(time_call(lambda: follow(1 + TIMED_STEPS)) - first, 0.0) / TIMED_STEPS)


# What is announced ----------------------------------------------------------------------------------------------------

_ANNOUNCED: weakref.WeakSet = weakref.WeakSet()
"""Maps of which a measurement was announced, or found to be short."""


@torch.no_grad()
def announce_long_work(
    part: Literal["certify", "census"], f: Map, points: Tensor, steps: int, evaluation_s: float
) -> None:
    """Log one line before a measurement that takes more than 30 seconds, once for each module.

    The line goes to the logger ``memzoo`` at the level INFO, as messages do that are no warnings. Unless a program has
    configured logging, it is written to the standard error stream, where it is seen and is no part of an output.

    Args:
        part: The part of an :class:`Estimate` that the measurement is.
        f: Self-map.
        points: Points that are measured.
        steps: Most steps.
        evaluation_s: Seconds of an evaluation of all points; if it is quick, nothing is estimated.
    """
    if evaluation_s * MOST_EVALUATIONS < LONG_S or not isinstance(f, nn.Module) or f in _ANNOUNCED:
        return
    _ANNOUNCED.add(f)
    cost = None
    with Attempt(Exception):  # what is wrong with a map, the measurement itself says
        work = _Work(f, points)
        cost = work.estimate_certificates(steps)
        if part == "census":
            cost = _add(cost, work.estimate_orbits(points, steps))
    if cost is not None and cost.seconds > LONG_S and os.environ.get("LOCAL_RANK", "0") == "0":
        _find_logger().info(
            "memzoo: %s of %d points takes about %s and %s (memzoo.dynamics.estimate gives the parts).",
            part,
            len(points),
            _format_seconds(cost.seconds),
            _format_bytes(cost.bytes),
        )


def _find_logger() -> logging.Logger:
    """Return the logger of memzoo; where nobody has configured logging, it writes to the standard error stream."""
    logger = logging.getLogger("memzoo")
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return logger
