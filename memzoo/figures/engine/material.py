"""Load the checkpoints of one figure, each once, and keep what has been measured on them."""

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
    """Bound the number that a statement of the paper is about: the statement holds within the bounds."""

    least: float | None = None
    most: float | None = None
    paper: str | None = None
    """The claim in the words of the paper. Left out, it is what the fact records of the paper."""

    def __call__(self, value: float) -> bool | None:
        """Tell whether the claim holds; None if nothing is claimed."""
        if self.least is None and self.most is None:
            return None
        low = -math.inf if self.least is None else self.least
        high = math.inf if self.most is None else self.most
        return low <= value <= high

    def __str__(self) -> str:
        signs = {">=": self.least, "<=": self.most}
        return " and ".join(f"{sign} {bound:g}" for sign, bound in signs.items() if bound is not None)


class Material:
    """Hold loaded models and measurements, which the rows and the picture of a figure share.

    Args:
        standard: Ids of the checkpoints of the zoo whose facts are measured.
        names: Names of the checkpoints that are loaded in place of these, if there are any.
        claims: Claims of the paper about facts, by the names of the facts.
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
        """Return a network as it was at its end, or after an optimizer step.

        Raises:
            UnknownCheckpointError: The network is of another architecture than that of the zoo.
        """
        key = index, step
        if key not in self._models:
            model = load(self.names[index], step=step)
            if not self._is_standard(index):
                self._check_kind(index, model)
            self._models[key] = model
        return self._models[key]

    def measured(self, index: int = 0, step: int | None = None) -> Measurements:
        """Return the measurements on a network; each quantity is measured once."""
        key = index, step
        if key not in self._measured:
            self._measured[key] = Measurements(self.model(index, step))
        return self._measured[key]

    def measure_all(self) -> list[Measurements]:
        """Return the measurements on every network at its end."""
        return [self.measured(index) for index in range(len(self))]

    def entry(self, index: int = 0) -> Entry:
        """Return the entry of the zoo's checkpoint, also if another checkpoint takes its place."""
        return info(self.standard[index])

    def rows(
        self, index: int | None = None, choose: Callable[[Fact], bool] = lambda _: True, prefix: str = ""
    ) -> list[Row]:
        """Measure the facts of one checkpoint, or of all, and return a row for each fact."""
        if index is None:
            return [row for one in range(len(self)) for row in self.rows(one, choose, prefix)]
        facts = [fact for fact in self.entry(index).facts if choose(fact)]
        if not self._is_standard(index):  # what was recorded is about the checkpoint of the zoo
            facts = [fact for fact in facts if not self._is_recorded(index, fact)]
        return [self._make_row(index, fact, prefix) for fact in facts]

    def name_rows(self, names: Sequence[str]) -> list[Row]:
        """Measure the facts of every checkpoint, and put the name of the checkpoint in front of each quantity."""
        return [row for index, name in enumerate(names) for row in self.rows(index, prefix=f"{name}: ")]

    def value(self, index: int, fact: Fact) -> float:
        """Measure a fact of a checkpoint; if it needs the whole training set, return the recorded value."""
        if self._is_recorded(index, fact):
            return math.nan if fact.ours is None else fact.ours
        return MEASURES[fact.measure](self.measured(index, fact.step), **fact.args)

    def _is_standard(self, index: int) -> bool:
        """Tell whether the checkpoint of the zoo itself is loaded."""
        return self.names[index] == self.standard[index]

    def _is_recorded(self, index: int, fact: Fact) -> bool:
        """Tell whether a fact needs the whole training set, of which only a part travels with the checkpoint."""
        return self.entry(index).training_set is not None and fact.measure in OF_THE_WHOLE

    def _check_kind(self, index: int, model: Autoencoder) -> None:
        """Refuse a network of another kind than that of the zoo."""
        entry = self.entry(index)
        wanted = _describe_kind(entry.architecture, entry.architecture_config().model_dump(mode="json"))
        found = _describe_kind(type(model).__name__, model.config.model_dump(mode="json"))
        if found != wanted:
            raise UnknownCheckpointError(
                f"{self.standard[index]} is a {', '.join(wanted)}, and {self.names[index]} is a {', '.join(found)}: it "
                "cannot take its place."
            )

    def _make_row(self, index: int, fact: Fact, prefix: str) -> Row:
        value = self.value(index, fact)
        claim = self._claims.get(fact.name, Claim(fact.least, fact.most))
        needed = str(claim)
        when = f" (step {fact.step})" if fact.step else ""
        source = " (as recorded)" if self._is_recorded(index, fact) else ""
        return Row(
            f"{prefix}{fact.name}{when}{source}",
            _describe_value(fact.paper) if claim.paper is None else claim.paper,
            value,
            # a value that is not known does not fulfil what is asked of it
            False if math.isnan(value) and needed else claim(value),
            self.names[index],
            needed,
        )


def _describe_kind(architecture: str, config: dict) -> tuple[str, ...]:
    """Describe what a checkpoint must share with the one whose place it takes."""
    activation = config.get("member", config).get("activation")
    linear = "linear" if activation == "linear" else "nonlinear"
    return architecture, linear, f"of images with {len(config['shape'])} axes"


def _describe_value(value: float | str | None) -> str:
    """Describe a value of the paper; one that the paper does not give is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4g}"
