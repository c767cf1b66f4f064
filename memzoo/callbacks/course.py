"""Measure tracked examples again and again, and keep the history: what a Trainer and any other loop have in common."""

import math
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.cadence import Cadence
from memzoo.callbacks.history import format_history, plot_history, to_pandas
from memzoo.callbacks.measurement import ExampleMeasurer
from memzoo.callbacks.options import MeasuringOptions
from memzoo.callbacks.reporting import Reporter, Row
from memzoo.callbacks.step_loss import StepLoss
from memzoo.callbacks.tracked_examples import KEPT, TrackedExamples
from memzoo.callbacks.weights import MeasuredWeights, name_weights
from memzoo.runs import Run, callbacks_of


class Course(ExampleMeasurer):
    """Measure tracked training examples in the course of a run, and keep the history.

    A subclass says what is measured: :meth:`measure_part` on the share of one process, :meth:`combine_parts` from the
    shares of all of them. Who calls it decides at which moments it may measure: the hooks of a Trainer, or a loop.

    Which examples, when, with which weights and where the values go is each decided by a part of its own:
    ``TrackedExamples``, ``Cadence``, ``MeasuredWeights`` and ``Reporter``.
    """

    KIND: ClassVar[str]
    """Name of the callback in the table of quantities."""
    TITLE: ClassVar[str]
    """Heading of the table."""
    given_examples: Tensor | None
    max_examples: int | None
    rotate: int
    verbose: bool
    history: list[Row]
    stopping_reason: str | None
    measured_weights: str

    def __init__(self, options: MeasuringOptions) -> None:
        self.given_examples = options.examples
        self.adapter = options.self_map
        self.max_examples = options.max_examples
        self.rotate = options.rotate
        self.verbose = options.verbose
        self.name = options.name
        self.keys = tuple(f"{self.name}/{quantity.key}" for quantity in self.QUANTITIES)
        self.cadence: Cadence = Cadence(options.every_n_epochs, options.every_n_steps, options.budget)
        self._tracked = TrackedExamples(options, type(self).__name__)
        self._forget()

    def _forget(self) -> None:
        """Forget the last run."""
        self.history = []
        self.stopping_reason = None
        self.measured_weights = "current"
        self.cadence.forget()
        self._tracked.forget()
        self._weights = MeasuredWeights()
        self._reporter = Reporter(self.name, self.KIND, self.QUANTITIES)
        self._loss = StepLoss()
        self._last_step = -1

    @property
    def examples(self) -> Tensor | None:
        """Return the tracked examples, None before they are known."""
        return self._tracked.examples

    @examples.setter
    def examples(self, examples: Tensor | None) -> None:
        self._tracked.examples = examples

    def choose_others(self, run: Run, examples: Tensor) -> None:
        """Choose what is needed beside the examples, once these are known, and again where they have changed."""

    def forget_others(self) -> None:
        """Forget what was chosen beside examples that have changed."""

    # The course of a run ----------------------------------------------------------------------------------------------

    def begin_tracking(self, run: Run, module: nn.Module) -> None:
        """Begin to measure, or to look for examples; check first that known examples can be measured."""
        self.measured_weights = name_weights(run)
        self._tracked.look_for_rows()
        if self._tracked.are_known:
            self._check_first(run, module)
        self.cadence.begin(run.global_step)

    def _check_first(self, run: Run, module: nn.Module) -> None:
        """Check before the first step that the module can be measured, unless its first call is to make its layers."""
        if not any(is_lazy(parameter) for parameter in module.parameters()):
            self._choose(run, module, check=True)

    def _choose(self, run: Run, module: nn.Module, *, check: bool = False) -> None:
        """Choose the examples, and what depends on them, from what is known so far."""
        # Starts, or a map that is refused, may draw from the global generators; Lightning validates in inference mode.
        with keep_generators_unchanged(), torch.inference_mode(False):
            if self._tracked.pending and self._tracked.choose(run, module, check=check):
                self.forget_others()
            self.choose_others(run, self._tracked.get())
        if not self._tracked.pending:
            self._tracked.drop_sample()

    @property
    def is_provisional(self) -> bool:
        """Tell whether the examples are those of the rows so far, before the first epoch has ended."""
        return self._tracked.are_provisional

    def is_pending(self) -> bool:
        """Tell whether examples, or what is chosen beside them, may be others than at the last measurement."""
        return self._tracked.pending

    def observe(self, run: Run, module: nn.Module, batch: Any, batch_idx: int | None = None) -> None:
        """Look at the rows of a training batch, unless the examples are known; without a number, nobody counts epochs.

        Raises:
            Exception: The first batch cannot be read, or the module cannot be measured at its rows.
        """
        if self._tracked.are_known:
            return
        started_s = self.cadence.count_training(run.global_step)
        try:
            if self._tracked.observe(run, batch, batch_idx):
                self._check_first(run, module)
        except Exception as error:
            if self._last_step < 0:  # before the first step; later no training is lost
                raise
            rank_zero_warn(f"{self.owner} cannot be measured, training goes on: {error}")
        self.cadence.count_measuring(started_s)  # looking at rows is paid from the budget, too

    @property
    def owner(self) -> str:
        """Return the name of the class that the user knows, for messages."""
        return self._tracked.owner

    @owner.setter
    def owner(self, name: str) -> None:
        self._tracked.owner = name

    @property
    def is_tracking(self) -> bool:
        """Tell whether there is anything to measure."""
        return self._tracked.are_found

    def end_step(self, run: Run, module: nn.Module, loss: Tensor | float | None) -> bool:
        """Keep the loss of a step in a loop without epochs, and measure if it is due; tell whether it was measured."""
        self._loss.put(loss)
        self._last_step = run.global_step
        return self.cadence.due_after_batch(run.global_step, math.inf) and self._record(run, module)

    def record_last(self, run: Run, module: nn.Module) -> bool:
        """Measure all examples, unless the present weights were measured; tell whether it was measured."""
        if self._is_closed(run, module):
            return False
        return self._record(run, module, closing=True, must=True)

    def _is_measured(self, run: Run) -> bool:
        """Tell whether the state after the present step was measured."""
        return bool(self.history) and self.history[-1]["step"] == run.global_step

    def _is_closed(self, run: Run, module: nn.Module) -> bool:
        """Tell whether the present state was measured on all examples, with the weights that are in place now."""
        if not self._is_measured(run) or not self._tracked.whole:
            return False
        return self._weights.are_unchanged(run, module)

    def _record(self, run: Run, module: nn.Module, *, closing: bool = False, must: bool = False) -> bool:
        """Measure, tell the callbacks that listen, and plan the next measurement.

        Args:
            run: The run.
            module: The module in training.
            closing: Measure all examples, also if subsets are measured in turn.
            must: Measure even if this exceeds the budget.

        Returns:
            Whether a measurement was made.
        """
        started_s = self.cadence.count_training(run.global_step)
        if self.history and not must and self._postpone(run):
            return False
        # Rules among the listeners keep weights: they see those that were measured.
        with ExitStack() as weights:
            try:
                weights.enter_context(self._weights.put_in_place(run, module))
            except Exception as error:  # of a hook of the module
                values = self._describe_failure(error, module)
            else:
                values = self._choose_and_measure(run, module, closing=closing)
            self._append(run, values, started_s)
            for callback in callbacks_of(run):
                listen = getattr(callback, "on_measurement", None)
                if listen is not None:
                    listen(run, module, self)
        return True

    def _choose_and_measure(self, run: Run, module: nn.Module, *, closing: bool) -> Row:
        """Choose what is still to be chosen, and measure it; a choice that fails costs this row alone."""
        try:
            if self.is_pending():
                self._choose(run, module)
            examples = self._tracked.take_turn(closing=closing)
        except Exception as error:
            return self._describe_failure(error, module)
        return self._measure_in_all_processes(run, module, examples)

    def _postpone(self, run: Run) -> bool:
        """Plan a later measurement if steps were faster than expected and one now would exceed the budget."""
        cost_s = self.history[-1]["seconds"]
        early = self.cadence.early(cost_s)
        later = self.cadence.plan(run.global_step, cost_s)
        early, later = run.strategy.broadcast((early, later))  # the clocks of processes differ: rank 0 decides
        if early:
            self.cadence.next_step = later
        return early

    def _append(self, run: Run, values: Row, started_s: float) -> None:
        """Append a measurement to the history, and plan the next one."""
        step = run.global_step
        loss = self._loss.average(run)
        epoch = self._epoch(run)
        if self._is_measured(run):  # other weights of the same step
            epoch = self.history[-1].get("epoch")
            loss = self.history[-1]["loss"] if loss is None else loss
        cost_s = self.cadence.count_measuring(started_s)
        plan = (cost_s, self.cadence.plan(step, cost_s))
        cost_s, self.cadence.next_step = run.strategy.broadcast(plan)
        row: Row = {"step": step} if epoch is None else {"step": step, "epoch": epoch}
        row["loss"] = math.nan if loss is None else loss
        if self.is_provisional:
            row["provisional"] = True
        self.history.append({**row, **values, "seconds": round(cost_s, 4)})

    def _epoch(self, run: Run) -> int | None:
        """Return the epoch of the last step; when the run has ended, Lightning counts that epoch as done."""
        return None if run.current_epoch is None else max(run.current_epoch - self._weights.run_has_ended, 0)

    def advise(self, module: nn.Module) -> None:
        """Warn if the closing state shows something that the user can change."""

    # What is shown ----------------------------------------------------------------------------------------------------

    def about(self) -> str:
        """Say what the values refer to."""
        return self._tracked.describe()

    def table(self) -> str:
        """Return the history as text, thinned to at most a dozen lines."""
        if not self.history:
            return f"{self.TITLE}: nothing was measured yet."
        lines = [format_history(self.history, self.name, f"{self.TITLE} among {self.about()}", self.QUANTITIES)]
        if self.measured_weights != "current":
            lines.append(f"Weights measured: {self.measured_weights}.")
        if self.stopping_reason is not None:
            lines.append(f"The run ended: {self.stopping_reason}.")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Draw the history against optimizer steps: shares, spectral radius and its quartiles, loss."""
        return plot_history(self.history, self.name, self.QUANTITIES)

    def to_pandas(self) -> Any:
        """Return the history as a :class:`pandas.DataFrame`, with a row for each measurement."""
        return to_pandas(self.history)

    # What is kept -----------------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Tensor]:
        """Return the tensors without which a resumed run would measure something else."""
        if self.examples is None or not self._tracked.are_known or self.given_examples is not None:
            return {}
        return {"examples": self.examples}

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take over the tensors that a checkpoint kept."""
        self.examples = kept.get("examples", self.examples)

    def state_dict(self) -> dict[str, Any]:
        """Return history, cadence and what is tracked, in plain Python and tensors."""
        # Examples that are too large to travel in every checkpoint are looked for again when the run is resumed.
        return {
            "history": [dict(row) for row in self.history],
            "cadence": self.cadence.state_dict(),
            **self._tracked.state_dict(),
            "kept": {name: tensor for name, tensor in self.kept().items() if tensor.numel() <= KEPT},
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Resume with history, cadence and what is tracked of another run."""
        self.history = [dict(row) for row in state["history"]]
        self.cadence.load_state_dict(state["cadence"])
        self._tracked.load_state_dict(state)
        self.restore(state["kept"])
