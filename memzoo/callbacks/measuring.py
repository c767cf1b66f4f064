"""The base of all measuring callbacks: measure tracked examples while training, and always the closing state."""

import math
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.cadence import Cadence
from memzoo.callbacks.history import format_history, plot_history, to_pandas
from memzoo.callbacks.measurement import ExampleMeasurer
from memzoo.callbacks.monitors import Monitors
from memzoo.callbacks.options import MeasuringOptions
from memzoo.callbacks.reporting import Reporter, Row
from memzoo.callbacks.step_loss import StepLoss
from memzoo.callbacks.tracked_examples import KEPT, TrackedExamples
from memzoo.callbacks.weights import (
    MeasuredWeights,
    move_after_averaging,
    name_weights,
    refuse_sharded,
)
from memzoo.runs import callbacks_of, ends_here, stopping_reason


class MeasuringCallback(ExampleMeasurer):
    """Measure tracked training examples while training, without a trace on it, and always the closing state.

    A subclass says what is measured: :meth:`measure_part` on the share of one process, :meth:`combine_parts` from the
    shares of all of them.

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
        self._monitors: Monitors | None = None
        self._training = False

    @property
    def examples(self) -> Tensor | None:
        """Return the tracked examples, None before they are known."""
        return self._tracked.examples

    @examples.setter
    def examples(self, examples: Tensor | None) -> None:
        self._tracked.examples = examples

    def choose_others(self, trainer: Trainer, examples: Tensor) -> None:
        """Choose what is needed beside the examples, once these are known, and again where they have changed."""

    def forget_others(self) -> None:
        """Forget what was chosen beside examples that have changed."""

    # The course of a run ----------------------------------------------------------------------------------------------

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new history with a new fit."""
        self._forget()
        move_after_averaging(trainer, self)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the examples, and check that the module maps them to their own shape."""
        refuse_sharded(trainer, self)
        self._monitors = Monitors(trainer, f"{self.name}/")
        self._warn_of_old_values(trainer)
        self.measured_weights = name_weights(trainer)
        self._tracked.look_for_rows()
        if self._tracked.are_known:
            self._begin_tracking(trainer, pl_module)
        self.cadence.begin(trainer.global_step)
        self._reporter.begin(self.history)
        self._training = True

    def _warn_of_old_values(self, trainer: Trainer) -> None:
        """Warn of monitors that read when nothing is measured."""
        assert self._monitors is not None
        old = self._monitors.explain_old_values(trainer, self.cadence)
        if old:
            rank_zero_warn(
                f"{', and '.join(old)}, but {type(self).__name__}({self.cadence.describe()}) does not measure at all "
                "of these moments: in between, an old value is taken for a new one. Give both the same rhythm, or "
                "leave every_n_epochs and every_n_steps out, to measure whenever a monitor reads after an epoch, a "
                "validation or a step; StopWhenMemorized counts measurements instead."
            )

    def _begin_tracking(self, trainer: Trainer, module: LightningModule) -> None:
        """Check before the first step that the module can be measured, unless its first call is to make its layers."""
        if not any(is_lazy(parameter) for parameter in module.parameters()):
            self._choose(trainer, module, check=True)

    def _choose(self, trainer: Trainer, module: LightningModule, *, check: bool = False) -> None:
        """Choose the examples, and what depends on them, from what is known so far."""
        # Starts, or a map that is refused, may draw from the global generators; Lightning validates in inference mode.
        with keep_generators_unchanged(), torch.inference_mode(False):
            if self._tracked.pending and self._tracked.choose(trainer, module, check=check):
                self.forget_others()
            self.choose_others(trainer, self._tracked.get())
        if not self._tracked.pending:
            self._tracked.drop_sample()

    @property
    def is_provisional(self) -> bool:
        """Tell whether the examples are those of the rows so far, before the first epoch has ended."""
        return self._tracked.are_provisional

    def is_pending(self) -> bool:
        """Tell whether examples, or what is chosen beside them, may be others than at the last measurement."""
        return self._tracked.pending

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Look at the rows that ``training_step`` is given, before anything changes them."""
        if self._tracked.are_known:
            return
        started_s = self.cadence.count_training(trainer.global_step)
        try:
            if self._tracked.observe(trainer, batch, batch_idx):
                self._begin_tracking(trainer, pl_module)
        except Exception as error:
            if self._last_step < 0:  # before the first step; later no training is lost
                raise
            rank_zero_warn(f"{type(self).__name__} cannot be measured, training goes on: {error}")
        self.cadence.count_measuring(started_s)  # looking at rows is paid from the budget, too

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss without waiting for it, and measure if a measurement is due within an epoch."""
        self._loss.keep(outputs, trainer, pl_module)
        self._reporter.count_batch(trainer)
        # With accumulated gradients, several batches end at one step: the first of them measures it.
        step = trainer.global_step
        self.cadence.count_training(step)  # for a checkpoint that is saved now
        is_new = step != self._last_step
        self._last_step = step
        must = self._is_read_after_batch(trainer, batch_idx)
        if trainer.is_last_batch:
            self._tracked.end_epoch()
        known = self._tracked.are_found
        if not is_new or not known or not (must or self._is_due_after_batch(trainer, batch_idx)):
            return
        if self._record(trainer, pl_module, must=must):
            # Lightning logs to the loggers every log_every_n_steps steps, and would leave out what is measured between.
            self._send_to_loggers(trainer)
            self._reporter.log_between_batches(pl_module, self.history[-1])

    def _is_read_after_batch(self, trainer: Trainer, batch_idx: int) -> bool:
        """Tell whether somebody reads a key now, so that it is measured whatever the budget."""
        if self._monitors is None or not self.cadence.by_budget:
            return False
        return self._monitors.read_after_batch(trainer.global_step, batch_idx)

    def _is_due_after_batch(self, trainer: Trainer, batch_idx: int) -> bool:
        """Tell whether to measure within an epoch; the last batch is left to the end of the epoch, except by steps."""
        batches = trainer.num_training_batches
        if self.cadence.every_n_steps is None and batch_idx + 1 >= batches:
            return False
        return self.cadence.due_after_batch(trainer.global_step, batches)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure here if the run validates, so that monitors of the validation see the value."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._measure_after_epoch(trainer, pl_module, closing=False)
        elif trainer.state.fn == "validate":
            self._measure_outside_of_fit(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure in ``Trainer.test``."""
        self._measure_outside_of_fit(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, unless the validation of this epoch just did."""
        self._measure_after_epoch(trainer, pl_module, closing=ends_here(trainer))

    def _measure_after_epoch(self, trainer: Trainer, module: LightningModule, *, closing: bool) -> None:
        """Measure if it is due or the run ends here, and log the last values where these were not logged yet."""
        if not self._tracked.are_found:
            return
        if closing:
            # other weights than those that were measured may be in place, or a subset alone was measured
            wanted = not self._is_closed(trainer, module)
        else:
            wanted = self._is_due_after_epoch(trainer) and not self._is_measured(trainer)
        if wanted or self._lacks_monitored_keys():
            self._record(trainer, module, closing=closing, must=closing or bool(self._monitors))
        self._reporter.log_after_epoch(trainer, module, self.history, is_new=self._is_measured(trainer))
        self._send_to_loggers(trainer)

    def _is_due_after_epoch(self, trainer: Trainer) -> bool:
        """Tell whether to measure at the end of an epoch: always at the first, so that monitors find their keys."""
        cadence = self.cadence
        if not self.history:
            return True
        if cadence.every_n_steps is not None:
            return False
        due = cadence.due_after_epoch(trainer.global_step, trainer.current_epoch)
        if cadence.every_n_epochs is not None:
            return due and trainer.is_last_batch  # the last one of several validations in an epoch
        return due or bool(self._monitors)

    def _lacks_monitored_keys(self) -> bool:
        """Tell whether the run was resumed from an earlier version, which did not measure all that may be monitored."""
        return bool(self._monitors and self.history) and not self.history[-1].keys() >= set(self.keys)

    def _is_measured(self, trainer: Trainer) -> bool:
        """Tell whether the state after the present step was measured."""
        return bool(self.history) and self.history[-1]["step"] == trainer.global_step

    def _is_closed(self, trainer: Trainer, module: LightningModule) -> bool:
        """Tell whether the present state was measured on all examples, with the weights that are in place now."""
        if not self._is_measured(trainer) or not self._tracked.whole:
            return False
        return self._weights.are_unchanged(trainer, module)

    def _record(self, trainer: Trainer, module: LightningModule, *, closing: bool = False, must: bool = False) -> bool:
        """Measure, tell the callbacks that listen, and plan the next measurement.

        Args:
            trainer: The Trainer of the run.
            module: The module in training.
            closing: Measure all examples, also if subsets are measured in turn.
            must: Measure even if this exceeds the budget.

        Returns:
            Whether a measurement was made.
        """
        started_s = self.cadence.count_training(trainer.global_step)
        if self.history and not must and self._postpone(trainer):
            return False
        # Rules among the listeners keep weights: they see those that were measured.
        with ExitStack() as weights:
            try:
                weights.enter_context(self._weights.put_in_place(trainer, module))
            except Exception as error:  # of a hook of the module
                values = self._describe_failure(error, module)
            else:
                values = self._choose_and_measure(trainer, module, closing=closing)
            self._append(trainer, values, started_s)
            for callback in callbacks_of(trainer):
                listen = getattr(callback, "on_measurement", None)
                if listen is not None:
                    listen(trainer, module, self)
        return True

    def _choose_and_measure(self, trainer: Trainer, module: LightningModule, *, closing: bool) -> Row:
        """Choose what is still to be chosen, and measure it; a choice that fails costs this row alone."""
        try:
            if self.is_pending():
                self._choose(trainer, module)
            examples = self._tracked.take_turn(closing=closing)
        except Exception as error:
            return self._describe_failure(error, module)
        return self._measure_in_all_processes(trainer, module, examples)

    def _postpone(self, trainer: Trainer) -> bool:
        """Plan a later measurement if steps were faster than expected and one now would exceed the budget."""
        cost_s = self.history[-1]["seconds"]
        early = self.cadence.early(cost_s)
        later = self.cadence.plan(trainer.global_step, cost_s)
        early, later = trainer.strategy.broadcast((early, later))  # the clocks of processes differ: rank 0 decides
        if early:
            self.cadence.next_step = later
        return early

    def _append(self, trainer: Trainer, values: Row, started_s: float) -> None:
        """Append a measurement to the history, and plan the next one."""
        step = trainer.global_step
        loss = self._loss.average(trainer)
        epoch = self._epoch(trainer)
        if self._is_measured(trainer):  # other weights of the same step
            epoch = self.history[-1]["epoch"]
            loss = self.history[-1]["loss"] if loss is None else loss
        cost_s = self.cadence.count_measuring(started_s)
        plan = (cost_s, self.cadence.plan(step, cost_s))
        cost_s, self.cadence.next_step = trainer.strategy.broadcast(plan)
        row = {"step": step, "epoch": epoch, "loss": math.nan if loss is None else loss}
        if self.is_provisional:
            row["provisional"] = True
        self.history.append({**row, **values, "seconds": round(cost_s, 4)})

    def _epoch(self, trainer: Trainer) -> int:
        """Return the epoch of the last step; when the run has ended, Lightning counts that epoch as done."""
        return max(trainer.current_epoch - self._weights.run_has_ended, 0)

    def _send_to_loggers(self, trainer: Trainer) -> None:
        self._reporter.send_to_loggers(trainer, self.history, self._epoch(trainer))

    def _measure_outside_of_fit(self, trainer: Trainer, module: LightningModule) -> None:
        """Log in ``Trainer.validate`` and ``Trainer.test``; the history of the run is kept as it is."""
        if self.examples is None and self.given_examples is None:
            rank_zero_info(
                f"{type(self).__name__} measures nothing here: it tracks no examples; pass examples=, or let it watch "
                "Trainer.fit before."
            )
            return
        examples = self._tracked.take_all()
        try:
            with keep_generators_unchanged(), torch.inference_mode(False):
                self.choose_others(trainer, examples)
        except Exception as error:
            values = self._describe_failure(error, module)
        else:
            values = self._measure_in_all_processes(trainer, module, examples)
        self._reporter.log_outside_of_fit(trainer, module, values)

    # The end of a run -------------------------------------------------------------------------------------------------

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the closing state and print the table."""
        self._weights.run_has_ended = True
        self._close(trainer, pl_module, stopping_reason(trainer))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Measure again if the module or another callback gave the run other weights when it ended."""
        if stage != "fit" or not self._weights.run_has_ended or not self.history:
            return
        if not self._is_closed(trainer, pl_module):
            self._record(trainer, pl_module, closing=True, must=True)
            self._send_to_loggers(trainer)
            if self.verbose:
                rank_zero_info(self.table())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Measure an interrupted run too, if it has one process; after any other error touch nothing."""
        # Processes are interrupted at different moments: one of several would wait for the others forever.
        if isinstance(exception, KeyboardInterrupt) and self._training and trainer.world_size == 1:
            self._close(trainer, pl_module, stopping_reason(trainer, exception))

    def _close(self, trainer: Trainer, module: LightningModule, reason: str) -> None:
        self._training = False
        self.stopping_reason = reason
        if not self._tracked.are_found:
            return
        if not self._is_closed(trainer, module):
            self._record(trainer, module, closing=True, must=True)
            self._send_to_loggers(trainer)
        self.advise(module)
        if self.verbose:
            rank_zero_info(self.table())

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

    @property
    def state_key(self) -> str:
        """Return the key of this state, by which callbacks of different names can stand side by side."""
        return self._generate_state_key(name=self.name)

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
