"""A random sample of the distinct rows that come by in batches."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

POOL = 1024
"""Distinct rows from which eps is derived, where they are not too large."""
POOL_NUMBERS = 2**24
"""Most numbers of such rows: 64 MB in float32."""
HASHED_AT_ONCE = 2**20
"""Numbers of a batch that are hashed together, so that little memory is needed."""
NAMES = 2**62
"""Number of different names."""


class Sample(NamedTuple):
    """Rows with their names, which their values alone determine, and the places at which they first came by."""

    rows: Tensor
    names: Tensor
    places: Tensor

    def select(self, index: Tensor) -> "Sample":
        """Return some of the rows."""
        return Sample(self.rows[index], self.names[index], self.places[index])

    def lowest(self, count: int) -> "Sample":
        """Return the rows of the ``count`` lowest names, in the order in which they came by."""
        chosen = self.select(self.names.argsort()[:count])
        return chosen.select(chosen.places.argsort())


class Reservoir:
    """Keep a uniform random sample of the distinct rows that come by, without replacement.

    This is bottom-k sampling (Cohen and Kaplan, PODC 2007): each row has a hash of its values as its name, and the rows
    of the lowest names are kept. Whoever sees the same rows keeps the same ones, in whatever order and how often they
    come, and the samples of several processes together give the sample of all rows.

    Args:
        least: Rows that are kept in any case.
        pool: Rows that are kept if their numbers are no more than 2**24; ``least`` when left out.
        wanted: Names of rows that are kept before all others, if they come by.
    """

    def __init__(self, least: int, pool: int = 0, wanted: Tensor | None = None) -> None:
        self.least = least
        self.pool = pool
        self.wanted: Tensor = torch.empty(0, dtype=torch.long) if wanted is None else wanted
        self.seen: int = 0
        """Rows that came by, repeated ones counted as often as they came."""
        self.last_new: int = 0
        """Rows that had come by after the last batch of which a row was taken."""
        self.shape: torch.Size | None = None
        """Shape of one row; rows of other shapes are passed over."""
        self.passed_over: int = 0
        """Number of these."""
        self._capacity = 0
        self._count = 0
        self._names = torch.empty(0, dtype=torch.long)
        self._places = torch.empty(0, dtype=torch.long)

    def __len__(self) -> int:
        return self._count

    @torch.inference_mode(False)  # Lightning validates in inference mode, and the rows are needed outside of it
    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        r"""Look at a batch (B, \*shape).

        Cost: one pass over the batch, and copies of the rows that are kept.
        """
        if not rows.numel():
            return
        if self.shape is not None and rows.shape[1:] != self.shape:
            self.passed_over += len(rows)
            return
        rows = rows.detach().to(torch.float64 if rows.dtype == torch.float64 else torch.float32)
        names = _hash_rows(rows).cpu()
        if len(self.wanted):
            names = torch.where(torch.isin(names, self.wanted), names - NAMES, names)
        is_new = self.insert(Sample(rows, names, torch.arange(self.seen, self.seen + len(rows))))
        self.seen += len(rows)
        if is_new:
            self.last_new = self.seen

    def insert(self, sample: Sample) -> bool:
        """Keep those rows of a sample whose names are among the lowest, each once, and tell whether one was new."""
        if not self._capacity:
            self._allocate(sample.rows)
        is_new = ~torch.isin(sample.names, self._names[: self._count])
        if self._count == self._capacity:
            is_new &= sample.names < self._names.max()
        if not is_new.any():
            return False
        fresh = sample.select(is_new.nonzero().flatten().to(sample.names.device))
        fresh = fresh.select(_find_first_of_each(fresh.names))
        names = torch.cat([self._names[: self._count], fresh.names])
        keep = names.argsort()[: self._capacity]
        is_free = torch.ones(self._capacity, dtype=torch.bool)
        is_free[keep[keep < self._count]] = False
        coming = fresh.select(keep[keep >= self._count] - self._count)
        free = is_free.nonzero().flatten()[: len(coming.names)]
        self._rows[free] = coming.rows.to(self._rows)
        self._names[free] = coming.names
        self._places[free] = coming.places
        self._count = min(len(names), self._capacity)
        return True

    def _allocate(self, rows: Tensor) -> None:
        """Make room for the rows; memory is taken only as it is filled."""
        self.shape = rows.shape[1:]
        affordable = POOL_NUMBERS // max(self.shape.numel(), 1)
        self._capacity = max(self.least, min(self.pool, affordable))
        self._rows = torch.empty((self._capacity, *self.shape), dtype=rows.dtype)
        self._names = torch.empty(self._capacity, dtype=torch.long)
        self._places = torch.empty(self._capacity, dtype=torch.long)

    @torch.inference_mode(False)
    def take(self) -> Sample | None:
        """Return the rows that are kept, in the order in which they came by; None before the first."""
        if not self._count:
            return None
        held = Sample(self._rows[: self._count], self._names[: self._count], self._places[: self._count])
        return held.lowest(self._count)


def join_samples(samples: list[Sample | None], least: int, pool: int = 0) -> Sample | None:
    """Return the sample of all rows from those of several processes, which take turns in its order."""
    joined = Reservoir(least, pool)
    for rank, sample in enumerate(samples):
        if sample is not None and joined.shape in (None, sample.rows.shape[1:]):
            joined.insert(sample._replace(places=sample.places * len(samples) + rank))
    return joined.take()


def _find_first_of_each(names: Tensor) -> Tensor:
    """Return the first index of each distinct name."""
    distinct, group = names.unique(return_inverse=True)
    index = torch.arange(len(names))
    return torch.full_like(distinct, len(names)).scatter_reduce(0, group, index, "amin")


def _hash_rows(rows: Tensor) -> Tensor:
    """Return a number in [0, 2**62) for each row: multilinear hashing of its bits (Carter and Wegman, 1979)."""
    values = rows.reshape(len(rows), -1) + 0.0  # -0.0 becomes 0.0, which it equals
    words = values.view(torch.int32 if values.element_size() == 4 else torch.int64)
    multipliers = _draw_multipliers(words.shape[1]).to(rows.device)
    parts = words.split(max(1, HASHED_AT_ONCE // max(words.shape[1], 1)))
    # Products and sums of 64 bits wrap around, and are the same on every device.
    hashes = torch.cat([_multiply(part.long(), multipliers) for part in parts])
    hashes = (hashes ^ (hashes >> 32)) * 0x1B873593CC9E2D51  # the finalisation mixes high bits into low ones
    return (hashes ^ (hashes >> 29)) & (NAMES - 1)


def _multiply(words: Tensor, multipliers: Tensor) -> Tensor:
    """Multiply a matrix of whole numbers by a vector, for which CUDA has no product of its own."""
    if words.device.type == "cpu":
        return words @ multipliers  # ten times faster than the other way
    return (words * multipliers).sum(1)


@lru_cache(maxsize=4)
def _draw_multipliers(count: int) -> Tensor:
    """Draw odd numbers of 64 bits, the same ones in every run."""
    low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    return torch.randint(low, high, (count,), generator=torch.Generator().manual_seed(0)) | 1
