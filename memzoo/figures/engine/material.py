"""The checkpoints of one figure, each loaded once, and what has been measured on them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from memzoo.errors import UnknownCheckpointError
from memzoo.figures.engine.reproduction import Row
from memzoo.models import Autoencoder
from memzoo.zoo import Entry, Fact, info, load
from memzoo.zoo.measures import MEASURES, OF_THE_WHOLE, Measurements


@dataclass(frozen=True)
class Claim:
    """What a number has to be for a statement of the paper to hold."""

    least: float | None = None
    most: float | None = None
    paper: str | None = None
    """In the paper's words; those of the fact when left out."""

    def __call__(self, value: float) -> bool | None:
        """None where nothing is claimed."""
        if self.least is None and self.most is None:
            return None
        low = -math.inf if self.least is None else self.least
        high = math.inf if self.most is None else self.most
        return low <= value <= high

    def __str__(self) -> str:
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", self.least), ("<=", self.most)) if bound is not None]
        return " and ".join(bounds)


class Material:
    """Loaded models and measurements, shared by the rows and the picture of a figure.

    Args:
        standard: Ids of the zoo, whose facts are measured.
        names: What is loaded for each, when it is not the checkpoint of the zoo itself.
        claims: What the paper says of facts, by their names.
    """

    def __init__(
        self, standard: Sequence[str], names: Sequence[str] | None = None, claims: Mapping[str, Claim] | None = None
    ) -> None:
        self.standard: list[str] = list(standard)
        self.names: list[str] = self.standard if names is None else list(names)
        self._claims = claims or {}
        self._models: dict[tuple[int, int | None], Autoencoder] = {}
        self._measured: dict[tuple[int, int | None], Measurements] = {}

    def __len__(self) -> int:
        return len(self.names)

    def model(self, index: int = 0, step: int | None = None) -> Autoencoder:
        """The network, at its end or after an optimizer step.

        Raises:
            UnknownCheckpointError: It is of another architecture than the zoo's.
        """
        key = index, step
        if key not in self._models:
            model = load(self.names[index], step=step)
            if self.names[index] != self.standard[index]:
                self._check_kind(index, model)
            self._models[key] = model
        return self._models[key]

    def _check_kind(self, index: int, model: Autoencoder) -> None:
        """Same architecture, linear or not, and as many axes of its images."""

        def kind(name: str, config: dict) -> tuple[str, ...]:
            inner = config.get("member", config)
            linear = "linear" if inner.get("activation") == "linear" else "nonlinear"
            return name, linear, f"of images with {len(config['shape'])} axes"

        entry = self.entry(index)
        wanted = kind(entry.architecture, entry.architecture_config().model_dump(mode="json"))
        found = kind(type(model).__name__, model.config.model_dump(mode="json"))
        if found != wanted:
            raise UnknownCheckpointError(
                f"{self.standard[index]} is a {', '.join(wanted)}, and {self.names[index]} is a {', '.join(found)}: it "
                "cannot take its place."
            )

    def measured(self, index: int = 0, step: int | None = None) -> Measurements:
        """Everything measured on it, each thing once."""
        key = index, step
        if key not in self._measured:
            self._measured[key] = Measurements(self.model(index, step))
        return self._measured[key]

    def entry(self, index: int = 0) -> Entry:
        """Of the zoo's checkpoint, also where another one takes its place."""
        return info(self.standard[index])

    def rows(
        self, index: int | None = None, choose: Callable[[Fact], bool] = lambda _: True, prefix: str = ""
    ) -> list[Row]:
        """The facts of one checkpoint, or of all, measured now: a row each."""
        if index is None:
            return [row for one in range(len(self)) for row in self.rows(one, choose, prefix)]
        facts = [fact for fact in self.entry(index).facts if choose(fact)]
        if self.names[index] != self.standard[index]:  # what was recorded is about the zoo's checkpoint
            facts = [fact for fact in facts if not self._as_recorded(index, fact)]
        return [self._row(index, fact, prefix) for fact in facts]

    def value(self, index: int, fact: Fact) -> float:
        """A fact of that checkpoint, measured now; as recorded where the whole training set does not travel."""
        if self._as_recorded(index, fact):
            return math.nan if fact.ours is None else fact.ours
        return MEASURES[fact.measure](self.measured(index, fact.step), **fact.args)

    def _as_recorded(self, index: int, fact: Fact) -> bool:
        return self.entry(index).training_set is not None and fact.measure in OF_THE_WHOLE

    def _row(self, index: int, fact: Fact, prefix: str) -> Row:
        value, recorded = self.value(index, fact), self._as_recorded(index, fact)
        claim = self._claims.get(fact.name, Claim(fact.least, fact.most))
        paper = claim.paper if claim.paper is not None else "" if fact.paper is None else _text(fact.paper)
        when = f" (step {fact.step})" if fact.step else ""
        return Row(
            f"{prefix}{fact.name}{when}{' (as recorded)' if recorded else ''}",
            paper,
            value,
            False if math.isnan(value) and str(claim) else claim(value),
            checkpoint=self.names[index],
            needed=str(claim),
        )


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
