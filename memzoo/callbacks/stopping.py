"""Stop a run when its training examples are memorized, or before they are."""

import math
from typing import Any, TypeGuard, final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from memzoo.callbacks.attractor import AttractorCallback
from memzoo.callbacks.module_structure import ModuleStructure, copy_tensors, write_tensors
from memzoo.callbacks.reporting import Row
from memzoo.callbacks.weights import move_after_averaging
from memzoo.errors import InvalidArgumentError
from memzoo.runs import FitCallback, Run, callbacks_of

MEASURES = ("fraction", "recovered")
"""Quantities that say how much is memorized."""
ROUNDING = 1e-6
"""Error of a share in float32, at most."""


class _Rule(FitCallback):
    """Judge the measurements of an :class:`AttractorCallback` in the same Trainer, in any order of the callbacks."""

    stopped_because: str | None = None
    """Why this rule ended the run; None as long as it has not."""

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a run in which no callback measures all examples at once."""
        self.stopped_because = None
        source = next((callback for callback in callbacks_of(trainer) if self._follows(callback)), None)
        if source is None:
            arguments = "" if self.name == "attractor" else f"name={self.name!r}"
            raise InvalidArgumentError(
                f"{type(self).__name__} needs measurements named {self.name!r}: add AttractorCallback({arguments}) to "
                "the Trainer's callbacks."
            )
        if source.rotate > 1:
            raise InvalidArgumentError(
                f"{type(self).__name__} judges all tracked examples, but AttractorCallback(rotate={source.rotate}) "
                "measures subsets in turn; use rotate=1 and the max_examples that you can afford."
            )

    def _follows(self, source: Any) -> TypeGuard[AttractorCallback]:
        """Tell whether this rule judges the measurements of ``source``."""
        return isinstance(source, AttractorCallback) and source.name == self.name

    @property
    def state_key(self) -> str:
        """Return the key of this state, by which rules on callbacks of different names can stand side by side."""
        return self._generate_state_key(name=self.name)


@final
class StopWhenMemorized(_Rule):
    """Stop when the tracked training examples are memorized in several *measurements* one after another.

    EarlyStopping reads a monitored value again at every epoch, and takes an old value for a new one; this rule counts
    measurements, so that the cadence of the :class:`memzoo.callbacks.AttractorCallback` stays as it is. It works in any
    order of the callbacks, and keeps the ``min_epochs`` and ``min_steps`` of the Trainer. An example that could not be
    measured counts as not memorized, and a measurement before the first epoch has ended, of the examples so far, is not
    counted.

    Args:
        share: Stop at this share of the tracked examples, in (0, 1].
        measure: ``"fraction"``, certified attractors, or ``"recovered"``, reached from the starts by iteration.
        measurements: Number of measurements in a row.
        name: Name of the AttractorCallback.

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
        self.share = share
        self.measure = measure
        self.measurements = measurements
        self.in_a_row: int = 0

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        super().begin(trainer, pl_module)
        self.in_a_row = 0

    def on_measurement(self, run: Run, pl_module: nn.Module, source: Any) -> None:
        """Count this measurement, and stop if there were enough."""
        if not self._follows(source) or source.is_provisional:
            return
        value = self.count(source.history[-1])
        if self.is_met and not run.should_stop:
            run.should_stop = True
            self.stopped_because = (
                f"StopWhenMemorized: {self.name}/{self.measure} = {value:.3g} >= {self.share:.3g} in "
                f"{self.in_a_row} measurements"
            )

    @property
    def is_met(self) -> bool:
        """Tell whether the last measurements were enough to stop."""
        return self.in_a_row >= self.measurements

    def count(self, row: Row) -> float:
        """Count a measurement, and return the value that it is judged by."""
        value: float = row[f"{self.name}/{self.measure}"]
        self.in_a_row = self.in_a_row + 1 if value >= self.share - ROUNDING else 0
        return value

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"in_a_row": self.in_a_row}

    def resume(self, state: dict[str, Any]) -> None:
        """Resume counting."""
        self.in_a_row = state["in_a_row"]


@final
class StopBeforeMemorized(_Rule):
    """Stop as soon as training examples are memorized, and put back the last weights in which none were.

    This rule is for networks that must not leak their training data. It does not see what is not measured: examples
    that are not tracked, starts that were not tried, and what happens between two measurements; ``memzoo.audit`` looks
    closer afterwards. An example that could not be measured counts as memorized, because it may be; a measurement that
    failed as a whole says nothing.

    Args:
        share: Largest share of certified attractors and of recovered examples that is allowed; 0 stops at the first.
        restore: At the end of a run that was stopped, put back the weights of the last measurement at which no more
            than ``share`` was memorized, before the closing measurement. They are kept on the CPU, and in the
            checkpoints of the run. What was pruned, compiled or replaced in the module since is undone with them. What
            a ModelCheckpoint wrote before that holds the weights of its own moment.
        name: Name of the :class:`memzoo.callbacks.AttractorCallback` in the same Trainer.

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
        self.share = share
        self.restore = restore
        self.clean: dict[str, Tensor] | None = None
        self.clean_step: int = -1
        """Optimizer step of the last measurement at which no more than ``share`` was memorized, -1 before one."""
        self._structure: ModuleStructure | None = None

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin without clean weights, and stand where weights are put back before others measure or save them."""
        super().begin(trainer, pl_module)
        self.clean = None
        self.clean_step = -1
        self._structure = None
        move_after_averaging(trainer, self)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the layers of a resumed run for those that its clean weights belong to."""
        self._structure = ModuleStructure(pl_module)

    def on_measurement(self, run: Run, pl_module: nn.Module, source: Any) -> None:
        """Keep the present weights as clean ones, or stop."""
        if not self._follows(source) or self.stopped_because is not None:
            return
        too_much = self.find_memorized(source.history[-1])
        if too_much is None:
            return
        if not too_much:
            self._keep_clean(run, pl_module)
            return
        run.should_stop = True
        self.stopped_because = f"StopBeforeMemorized: {too_much} > {self.share:.3g} at step {run.global_step}"

    def find_memorized(self, row: Row) -> str | None:
        """Return what a measurement shows of more than ``share``, nothing if it is clean, None if it does not say."""
        measured = row.get(f"{self.name}/measured", 1.0)
        # either one is a leak: a certified attractor, or an example that iteration finds
        values = {measure: row[f"{self.name}/{measure}"] for measure in MEASURES if measured != 0}
        residual = row[f"{self.name}/residual"] if measured != 0 else 0.0
        if any(math.isnan(value) for value in (measured, residual, *values.values())):
            return None  # a measurement that failed, or one of a network that is not finite, says nothing
        worst = max(values, key=lambda measure: values[measure], default=MEASURES[0])
        known = values.get(worst, 0.0)
        if known + 1 - measured <= self.share + ROUNDING:
            return ""
        unknown = f" and {1 - measured:.3g} of the examples not measured," if measured < 1 else ""
        return f"{self.name}/{worst} = {known:.3g}{unknown}"

    def _keep_clean(self, run: Run, module: nn.Module) -> None:
        """Remember the present step, and its weights if they may be put back."""
        self.clean_step = run.global_step
        if self.restore:
            self.clean = copy_tensors(module)
            self._structure = ModuleStructure(module)

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
        missing = self._put_back(pl_module)
        if missing:
            rank_zero_warn(
                f"{self.stopped_because}; the module no longer has {', '.join(missing)}, so that the weights of step "
                f"{self.clean_step} are put back in part: do not use these weights, and train with restore=False or "
                "without what replaces the layers."
            )
            return
        rank_zero_info(f"{self.stopped_because}; the weights of step {self.clean_step}, measured before, are put back.")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put the clean weights back again, in place of those that the module itself has chosen at the end."""
        if stage == "fit" and self.stopped_because is not None and self.clean is not None:
            self._put_back(pl_module)

    def _put_back(self, module: LightningModule) -> list[str]:
        """Put the clean weights back into the layers that had them; return the names that the module does not have."""
        assert self.clean is not None
        if self._structure is not None:
            self._structure.restore()
        return write_tensors(module, self.clean)

    def state_dict(self) -> dict[str, Any]:
        """Return the last clean weights and their step."""
        return {"clean": self.clean, "clean_step": self.clean_step}

    def resume(self, state: dict[str, Any]) -> None:
        """Resume with the clean weights of another run."""
        self.clean = state["clean"]
        self.clean_step = state["clean_step"]
