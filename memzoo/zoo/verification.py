"""Recompute every fact of a checkpoint."""

from dataclasses import dataclass

from memzoo.errors import UnknownCheckpointError
from memzoo.models import Autoencoder
from memzoo.zoo.entry import Fact
from memzoo.zoo.facts import MEASURES, Measurements
from memzoo.zoo.loading import load


@dataclass(frozen=True)
class Row:
    """One fact, recomputed."""

    fact: Fact
    measured: float

    @property
    def ok(self) -> bool:
        """Within the tolerance of the recorded value and within the required bounds."""
        fact = self.fact
        recorded = fact.ours is None or abs(self.measured - fact.ours) <= fact.tolerance
        return recorded and self.holds

    @property
    def holds(self) -> bool:
        """Within the required bounds."""
        low = self.fact.least is None or self.measured >= self.fact.least
        high = self.fact.most is None or self.measured <= self.fact.most
        return low and high

    def __str__(self) -> str:
        fact = self.fact
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", fact.least), ("<=", fact.most)) if bound is not None]
        paper = "-" if fact.paper is None else str(fact.paper)
        recorded = "-" if fact.ours is None else f"{fact.ours:.4g} +- {fact.tolerance:g}"
        return (
            f"{'ok  ' if self.ok else 'FAIL'} {fact.name:<40} {self.measured:>10.4g}   recorded {recorded:<18} "
            f"required {' and '.join(bounds) or '-':<22} paper {paper}"
        )


@dataclass(frozen=True)
class Verification:
    """All facts of one checkpoint, recomputed from its files."""

    id: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Every fact holds."""
        return all(row.ok for row in self.rows)

    def __str__(self) -> str:
        return "\n".join([f"{self.id}: {'verified' if self.ok else 'FAILED'}", *(f"  {row}" for row in self.rows)])


def verify(name: str) -> Verification:
    """Load a checkpoint by id and recompute every fact in its entry.

    Raises:
        UnknownCheckpointError: No such id; the message names the nearest.
        CorruptCheckpointError: The files are not those of the entry.
    """
    model = load(name)
    if model.entry is None:
        raise UnknownCheckpointError(
            f"{name} has no registry entry, so there is nothing to verify it against; measure it with memzoo.dynamics."
        )
    return Verification(model.entry.id, measure_facts(model, model.entry.facts))


def measure_facts(model: Autoencoder, facts: list[Fact]) -> tuple[Row, ...]:
    """Each fact with its value as measured on ``model``."""
    measurements = Measurements(model)
    return tuple(Row(fact, MEASURES[fact.measure](measurements, **fact.args)) for fact in facts)
