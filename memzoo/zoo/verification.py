"""Verify a checkpoint: recompute every fact that its entry states, and compare it with the recorded value."""

import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from torch import Tensor

from memzoo.data import DISTRIBUTIONS, FORMULAS
from memzoo.errors import UnknownCheckpointError
from memzoo.models import Autoencoder
from memzoo.zoo.entry import Entry, Fact
from memzoo.zoo.loading import assemble, fetch_training_set, locate
from memzoo.zoo.measures import MEASURES, OF_THE_WHOLE, Measurements

Verdict = Literal["verified", "provisional", "failed"]


@dataclass(frozen=True)
class Row:
    """One fact, recomputed."""

    fact: Fact
    measured: float
    """NaN if it was not recomputed."""
    recomputed: bool = True
    """False if that needs the whole training set, and there is none: then the recorded value stands."""

    @property
    def value(self) -> float:
        """Return the measured value, or the recorded one if it was not recomputed."""
        if self.recomputed:
            return self.measured
        return math.nan if self.fact.ours is None else self.fact.ours

    @property
    def ok(self) -> bool:
        """Tell whether the value is within the tolerance of the recorded one and within the required bounds."""
        return self.agrees and self.holds

    @property
    def agrees(self) -> bool:
        """Tell whether the value is within the tolerance of the recorded one, if one is recorded."""
        fact = self.fact
        return fact.ours is None or abs(self.value - fact.ours) <= fact.tolerance

    @property
    def holds(self) -> bool:
        """Tell whether the value is a number within the required bounds."""
        # a comparison with NaN is false, so NaN is excluded by itself only where there are bounds
        low = self.fact.least is None or self.value >= self.fact.least
        high = self.fact.most is None or self.value <= self.fact.most
        return low and high and not math.isnan(self.value)

    def __str__(self) -> str:
        fact = self.fact
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", fact.least), ("<=", fact.most)) if bound is not None]
        paper = "-" if fact.paper is None else str(fact.paper)
        recorded = "-" if fact.ours is None else f"{fact.ours:.4g} +- {fact.tolerance:g}"
        name = fact.name if fact.step is None else f"{fact.name}, step {fact.step}"
        measured = f"{self.measured:.4g}" if self.recomputed else "-"
        note = "" if self.recomputed else "   (not recomputed: --data DIR, the whole training set)"
        return (
            f"{self._mark} {name:<40} {measured:>10}   recorded {recorded:<18} "
            f"required {' and '.join(bounds) or '-':<22} paper {paper}{note}"
        )

    @property
    def _mark(self) -> str:
        """Return the word with which the row is printed."""
        if not self.ok:
            return "FAIL"
        return "ok  " if self.recomputed else "-   "


@dataclass(frozen=True)
class Verification:
    """All facts of one checkpoint, recomputed from its files.

    ``verdict`` is

    - ``"verified"``: every fact has a recorded value and was found again within its tolerance, and every required bound
      is met, whatever the versions;
    - ``"provisional"``: every required bound is met, but a fact has no recorded value yet, was not recomputed as the
      training set is not there, or differs from its recorded value by more than its tolerance where ``torch`` is
      another version than the one that recorded it;
    - ``"failed"``: a required bound is missed, or a value differs under the same version.
    """

    id: str
    rows: tuple[Row, ...]
    recorded: dict[str, str] = field(default_factory=dict)
    """Versions with which the values were recorded."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions with which they were recomputed."""

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on all facts together."""
        same_version = self.recorded.get("torch") == self.versions.get("torch")
        if any(not row.holds or (same_version and not row.agrees) for row in self.rows):
            return "failed"
        # another version of torch may differ in the last digits: that is no failure, but no proof either
        complete = all(row.ok and row.recomputed and row.fact.ours is not None for row in self.rows)
        return "verified" if complete else "provisional"

    @property
    def ok(self) -> bool:
        """Tell whether nothing failed."""
        return self.verdict != "failed"

    def __str__(self) -> str:
        verdict = "FAILED" if self.verdict == "failed" else self.verdict
        recorded = _list_versions(self.recorded)
        here = _list_versions(self.versions)
        rows = [f"  {row}" for row in self.rows]
        return "\n".join([f"{self.id}: {verdict}", *rows, f"  recorded with {recorded}; recomputed with {here}"])


def _list_versions(versions: dict[str, str]) -> str:
    """List versions in one line."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def verify(name: str, *, data_root: str | Path | None = None) -> Verification:
    """Load a checkpoint by any of its names and recompute every fact in its entry; its files are hashed anew.

    Args:
        name: Name of the checkpoint, in one of the forms that :func:`memzoo.load` takes.
        data_root: Folder of the datasets. Some facts need the whole training set, of which the checkpoint has a part.

    Cost: seconds for a checkpoint, minutes for all.

    Raises:
        UnknownCheckpointError: No such id, the message names the nearest; or nothing is claimed of it.
        CorruptCheckpointError: The files are not those of the entry.
    """
    found = locate(name)
    if found.entry is None:
        raise UnknownCheckpointError(
            f"{name} has no registry entry, so there is nothing to verify it against; measure it with memzoo.dynamics."
        )
    entry = found.entry
    # the files of every step are read, also of those of which no fact speaks
    steps = dict.fromkeys([None, *entry.steps, *(fact.step for fact in entry.facts)])
    networks = {step: assemble(found, step=step) for step in steps}
    rows = measure_facts(
        networks.__getitem__,
        entry.facts,
        _find_training_inputs(entry, data_root),
        partial=entry.training_set is not None,
    )
    return Verification(entry.id, rows, entry.recipe.versions, find_versions())


def _find_training_inputs(entry: Entry, data_root: str | Path | None) -> Tensor | None:
    """Find all training images, if the checkpoint has only a part of them and they need not be downloaded."""
    about = entry.training_set
    if about is None or (data_root is None and about.dataset not in (*FORMULAS, *DISTRIBUTIONS)):
        return None
    selection = fetch_training_set(entry, data_root)
    return None if selection is None else about.inputs(selection.images)


def measure_facts(
    network_after: Callable[[int | None], Autoencoder],
    facts: list[Fact],
    whole: Tensor | None = None,
    *,
    partial: bool = False,
) -> tuple[Row, ...]:
    """Measure each fact on the network after its step, ``network_after(step)``.

    Args:
        network_after: Function that returns the network after a step, None for the last.
        facts: Facts to measure.
        whole: All training images, if the checkpoint has only a part of them.
        partial: Whether the checkpoint has only a part of the training images. Without ``whole``, the facts about all
            training images cannot be recomputed then.
    """
    measurements: dict[int | None, Measurements] = {}  # what facts of one network share is computed once
    rows = []
    for fact in facts:
        if partial and whole is None and fact.measure in OF_THE_WHOLE:
            rows.append(Row(fact, math.nan, recomputed=False))
            continue
        if fact.step not in measurements:
            measurements[fact.step] = Measurements(network_after(fact.step), whole)
        measure = MEASURES[fact.measure]
        rows.append(Row(fact, measure(measurements[fact.step], **fact.args)))
    return tuple(rows)


def find_versions() -> dict[str, str]:
    """Find the installed versions of what the numbers depend on."""
    return {name: version(name) for name in ("torch", "lightning")} | {"python": platform.python_version()}
