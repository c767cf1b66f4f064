"""Estimate what spectra cost on this machine, from one or some of them that are timed.

How many products a Krylov space needs depends on the map, and so does the rank at which eigenvalues are computed. The
algorithm itself at one point knows both, and stays true when it changes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from memzoo.dynamics.spectra.arnoldi import MOST_COLUMNS
from memzoo.dynamics.spectra.eigenvalues import compute_spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians

clock: Callable[[], float] = time.perf_counter
MANY = 64
"""Rows of the larger of the two batches that are timed, at most."""
FEW = 4
"""The same where they are slow."""
QUICK_S = 0.2
"""Seconds that the larger batch may take, unless it is of few rows."""
SLOW_S = 2.0
"""Seconds from which on a row is timed by its first computation alone."""


class Cost(NamedTuple):
    """What a computation takes."""

    seconds: float
    bytes: int
    """Most memory in work at one time, beside the map and the points."""


@dataclass(frozen=True)
class Price:
    """The time of batches."""

    batch_s: float
    row_s: float

    def of(self, batches: float, rows: float) -> float:
        """Return the seconds for so many batches that have so many rows together."""
        return batches * self.batch_s + rows * self.row_s


def time_call(work: Callable[[], object]) -> float:
    """Time a computation, the quickest of three if they are short: an interruption only makes it longer."""
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < QUICK_S:
        started = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(clock() - started)
    return min(taken)


def time_batches(work: Callable[[int], object], most: int = MANY) -> Price:
    """Time a computation at one row and at several, not more than ``most``; a row of many costs less than one alone."""
    started = clock()
    work(1)  # the first call also plans, compiles and allocates
    first = clock() - started
    if first > SLOW_S:
        return Price(0.0, first)
    single = time_call(lambda: work(1))
    most = min(most, max(FEW, int(QUICK_S / max(single, 1e-9))))
    if most == 1:
        return Price(0.0, single)
    work(most)
    row_s = max(time_call(lambda: work(most)) - single, 0.0) / (most - 1)
    return Price(max(single - row_s, 0.0), row_s)


def estimate_spectrum(jacobians: Jacobians, x: Tensor) -> Cost:
    """Estimate what the spectra at ``x`` cost, in the way of the Jacobians, from those of some points."""
    top = 1 if jacobians.method == "arnoldi" else None
    price = time_batches(lambda n: compute_spectrum(jacobians, x[:n], top=top, strict=False), min(MANY, len(x)))
    blocks = [len(rows) for rows in jacobians.split_into_blocks(x)]
    seconds = price.of(len(blocks), 1 if jacobians.affine else len(x))
    widest = max(jacobians.dim, 0 if jacobians.graph is None else jacobians.graph.widest)
    if jacobians.method == "arnoldi":
        numbers = MOST_COLUMNS * jacobians.dim + 40 * widest
    else:
        numbers = 6 * jacobians.width * widest if jacobians.method == "cut" else 6 * jacobians.dim**2
    return Cost(seconds, 8 * numbers * (1 if jacobians.affine else max(blocks)))
