"""Stop a run when it has memorized, or before it does."""

import math
from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from memzoo.callbacks.attractor import AttractorCallback
from memzoo.callbacks.weights import stand_behind_averaging
from memzoo.errors import InvalidArgumentError
from memzoo.runs import FitCallback

MEASURES = ("fraction", "recovered")


class _Rule(FitCallback):
    """A rule on the measurements of an :class:`AttractorCallback` in the same Trainer, wherever that stands."""

    stopped_because: str | None = None
    """Why this rule ended the run, None while it has not."""

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a run in which nobody measures, or never all at once."""
        self.stopped_because = None
        callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        source = next((callback for callback in callbacks if self._is_mine(callback)), None)
        if source is None:
            raise InvalidArgumentError(
                f"{type(self).__name__} needs measurements named {self.name!r}: add "
                f"{'AttractorCallback()' if self.name == 'attractor' else f'AttractorCallback(name={self.name!r})'} to "
                "the Trainer's callbacks."
            )
        if source.rotate > 1:
            raise InvalidArgumentError(
                f"{type(self).__name__} judges all tracked examples, but AttractorCallback(rotate={source.rotate}) "
                "measures subsets in turn; use rotate=1 and the max_examples that you can afford."
            )

    def _is_mine(self, source: Any) -> bool:
        return isinstance(source, AttractorCallback) and source.name == self.name

    @property
    def state_key(self) -> str:
        """Rules on callbacks of different names can stand side by side."""
        return self._generate_state_key(name=self.name)


@final
class StopWhenMemorized(_Rule):
    """Stop when the tracked training examples are memorized, for some *measurements* one after another.

    EarlyStopping reads a monitored value again at every epoch, and takes an old value for a new one; this rule counts
    measurements, so that the cadence of the :class:`memzoo.callbacks.AttractorCallback` stays as it is. It works in any
    order of the callbacks, and keeps the ``min_epochs`` and ``min_steps`` of the Trainer.

    Args:
        share: Stop at this share of the tracked examples, in (0, 1].
        measure: ``"fraction"``, certified attractors, or ``"recovered"``, reached from the starts by iteration.
        measurements: So many in a row.
        name: Of the AttractorCallback.

    Example:
        >>> rules = [AttractorCallback(), StopWhenMemorized(0.9, measurements=3)]
    """

    share: float
    measurements: int
    stopped_because: str | None

    def __init__(
        self, share: float = 1.0, *, measure: str = "fraction", measurements: int = 2, name: str = "attractor"
    ) -> None:
        if not 0 < share <= 1:
            raise InvalidArgumentError(f"share must lie in (0, 1], got {share}.")
        if measure not in MEASURES:
            raise InvalidArgumentError(f"measure must be one of {MEASURES}, got {measure!r}.")
        if measurements < 1:
            raise InvalidArgumentError(f"measurements must be at least 1, got {measurements}.")
        super().__init__(name)
        self.share, self.measure, self.measurements = share, measure, measurements
        self.in_a_row: int = 0

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new fit counts anew."""
        super().begin(trainer, pl_module)
        self.in_a_row = 0

    def on_measurement(self, trainer: Trainer, pl_module: LightningModule, source: Any) -> None:
        """Count this measurement."""
        if not self._is_mine(source):
            return
        value = source.history[-1][f"{self.name}/{self.measure}"]
        self.in_a_row = self.in_a_row + 1 if value >= self.share - 1e-6 else 0
        if self.in_a_row >= self.measurements and not trainer.should_stop:
            trainer.should_stop = True
            self.stopped_because = (
                f"StopWhenMemorized: {self.name}/{self.measure} = {value:.3g} >= {self.share:.3g} in "
                f"{self.in_a_row} measurements"
            )

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"in_a_row": self.in_a_row}

    def go_on(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.in_a_row = state["in_a_row"]


@final
class StopBeforeMemorized(_Rule):
    """Stop as soon as training examples are memorized, and go back to the last weights in which none were.

    For networks that must not leak their training data. What is not measured is not seen: examples that are not
    tracked, starts that were not tried, and what happens between two measurements; ``memzoo.audit`` looks closer
    afterwards.

    Args:
        share: Largest share that is let pass, of certified attractors and of recovered examples; 0 stops at the first.
        restore: At the end of a run that was stopped, put back the weights of the last measurement at which no more
            than ``share`` was memorized, before the closing measurement. They are kept on the CPU, and in the
            checkpoints of the run. What a ModelCheckpoint wrote before that holds the weights of its own moment.
        name: Of the :class:`memzoo.callbacks.AttractorCallback` in the same Trainer.

    Example:
        >>> rules = [AttractorCallback(every_n_epochs=1), StopBeforeMemorized()]
    """

    puts_weights_back = True
    share: float
    restore: bool
    stopped_because: str | None

    def __init__(self, share: float = 0.0, *, restore: bool = True, name: str = "attractor") -> None:
        if not 0 <= share < 1:
            raise InvalidArgumentError(f"share must lie in [0, 1), got {share}.")
        super().__init__(name)
        self.share, self.restore = share, restore
        self.clean: dict[str, Tensor] | None = None
        self.clean_step: int = -1
        """Optimizer step of the last measurement at which no more than ``share`` was memorized, -1 before one."""

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new fit begins anew; weights are put back before anybody measures or saves them."""
        super().begin(trainer, pl_module)
        self.clean, self.clean_step = None, -1
        stand_behind_averaging(trainer, self)

    def on_measurement(self, trainer: Trainer, pl_module: LightningModule, source: Any) -> None:
        """Keep the weights as measured, or stop."""
        if not self._is_mine(source) or self.stopped_because is not None:
            return
        row = source.history[-1]
        values = {measure: row[f"{self.name}/{measure}"] for measure in MEASURES}
        if any(math.isnan(value) for value in (*values.values(), row[f"{self.name}/residual"])):
            return  # a measurement that failed, or one of a network that is not finite, says nothing
        worst = max(values, key=lambda measure: values[measure])
        if values[worst] <= self.share + 1e-6:
            self.clean_step = trainer.global_step
            if self.restore:
                self.clean = {name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()}
            return
        trainer.should_stop = True
        self.stopped_because = (
            f"StopBeforeMemorized: {self.name}/{worst} = {values[worst]:.3g} > {self.share:.3g} at step "
            f"{trainer.global_step}"
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the last clean weights back."""
        if self.stopped_because is None or not self.restore:
            return
        if self.clean is None:
            rank_zero_warn(
                f"{self.stopped_because}, the first measurement: there are no earlier weights to go back to; measure "
                "more often (every_n_steps=), or from the start."
            )
            return
        pl_module.load_state_dict(self.clean)
        rank_zero_info(f"{self.stopped_because}; the weights of step {self.clean_step}, measured before, are put back.")

    def state_dict(self) -> dict[str, Any]:
        """The last clean weights."""
        return {"clean": self.clean, "clean_step": self.clean_step}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.clean, self.clean_step = state["clean"], state["clean_step"]
