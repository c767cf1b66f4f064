"""Recompute every fact of a checkpoint."""

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
from memzoo.zoo.entry import Fact
from memzoo.zoo.loading import assemble, locate, whole_set
from memzoo.zoo.measures import MEASURES, OF_THE_WHOLE, Measurements

Verdict = Literal["verified", "provisional", "failed"]


@dataclass(frozen=True)
class Row:
    """One fact, recomputed."""

    fact: Fact
    measured: float
    """NaN where it was not recomputed."""
    recomputed: bool = True
    """False where that needs the whole training set, and there is none: then the recorded value stands."""

    @property
    def value(self) -> float:
        """As measured, else as recorded."""
        recorded = math.nan if self.fact.ours is None else self.fact.ours
        return self.measured if self.recomputed else recorded

    @property
    def ok(self) -> bool:
        """Within the tolerance of the recorded value and within the required bounds."""
        return self.agrees and self.holds

    @property
    def agrees(self) -> bool:
        """Within the tolerance of the recorded value, where one is recorded."""
        fact = self.fact
        return fact.ours is None or abs(self.value - fact.ours) <= fact.tolerance

    @property
    def holds(self) -> bool:
        """A number within the required bounds."""
        low = self.fact.least is None or self.value >= self.fact.least
        high = self.fact.most is None or self.value <= self.fact.most
        return low and high and not math.isnan(self.value)

    def __str__(self) -> str:
        fact = self.fact
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", fact.least), ("<=", fact.most)) if bound is not None]
        paper = "-" if fact.paper is None else str(fact.paper)
        recorded = "-" if fact.ours is None else f"{fact.ours:.4g} +- {fact.tolerance:g}"
        name = fact.name if fact.step is None else f"{fact.name}, step {fact.step}"
        return (
            f"{('ok  ' if self.recomputed else '-   ') if self.ok else 'FAIL'} {name:<40} "
            f"{f'{self.measured:.4g}' if self.recomputed else '-':>10}   recorded {recorded:<18} "
            f"required {' and '.join(bounds) or '-':<22} paper {paper}"
            f"{'' if self.recomputed else '   (not recomputed: --data DIR, the whole training set)'}"
        )


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
        """The worst that is true."""
        same = self.recorded.get("torch") == self.versions.get("torch")
        if not all(row.holds for row in self.rows) or (same and not all(row.agrees for row in self.rows)):
            return "failed"
        complete = all(row.ok and row.recomputed and row.fact.ours is not None for row in self.rows)
        return "verified" if complete else "provisional"

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return self.verdict != "failed"

    def __str__(self) -> str:
        verdict = "FAILED" if self.verdict == "failed" else self.verdict
        there, here = (
            ", ".join(f"{name} {number}" for name, number in v.items()) for v in (self.recorded, self.versions)
        )
        return "\n".join(
            [
                f"{self.id}: {verdict}",
                *(f"  {row}" for row in self.rows),
                f"  recorded with {there}; recomputed with {here}",
            ]
        )


def verify(name: str, *, data_root: str | Path | None = None) -> Verification:
    """Load a checkpoint by any of its names and recompute every fact in its entry; its files are hashed anew.

    Args:
        name: As :func:`memzoo.load` takes it.
        data_root: Where the datasets lie: some facts need a training set of which only a part travels.

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
    models: dict[int | None, Autoencoder] = {}

    def at(step: int | None) -> Autoencoder:
        if step not in models:
            models[step] = assemble(found, step=step, trust=False)
        return models[step]

    at(None)
    for step in found.entry.steps:
        at(step)
    whole, about = None, found.entry.training_set
    if about is not None and (data_root is not None or about.dataset in FORMULAS or about.dataset in DISTRIBUTIONS):
        selection = whole_set(found.entry, data_root)
        whole = None if selection is None else about.inputs(selection.images)
    rows = measure_facts(at, found.entry.facts, whole, partial=about is not None)
    return Verification(found.entry.id, rows, found.entry.recipe.versions, versions_here())


def measure_facts(
    at: Callable[[int | None], Autoencoder],
    facts: list[Fact],
    whole: Tensor | None = None,
    *,
    partial: bool = False,
) -> tuple[Row, ...]:
    """Each fact with its value as measured on the network after its step, ``at(step)``.

    Args:
        at: The network after a step, None for the last.
        facts: What to measure.
        whole: All training images, where only a part of them travels.
        partial: Only a part travels: without ``whole``, what is said of all of them cannot be recomputed.
    """
    measurements: dict[int | None, Measurements] = {}
    rows = []
    for fact in facts:
        if partial and whole is None and fact.measure in OF_THE_WHOLE:
            rows.append(Row(fact, math.nan, recomputed=False))
            continue
        if fact.step not in measurements:
            measurements[fact.step] = Measurements(at(fact.step), whole)
        rows.append(Row(fact, MEASURES[fact.measure](measurements[fact.step], **fact.args)))
    return tuple(rows)


def versions_here() -> dict[str, str]:
    """What numbers depend on."""
    return {name: version(name) for name in ("torch", "lightning")} | {"python": platform.python_version()}
