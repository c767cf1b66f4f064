"""The base of all measuring callbacks: measure while a Trainer trains, and always the closing state."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.course import Course
from memzoo.callbacks.monitors import Monitors
from memzoo.callbacks.weights import move_after_averaging, refuse_sharded
from memzoo.runs import FitCallback, ends_here, stopping_reason


class MeasuringCallback(Course, FitCallback):
    """Measure tracked training examples while training, without a trace on it, and always the closing state.

    This class holds the hooks of a Trainer: the moments at which it may be measured, and who reads the values.
    """

    def _forget(self) -> None:
        super()._forget()
        self._monitors: Monitors | None = None
        self._training = False

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new history with a new fit."""
        self._forget()
        move_after_averaging(trainer, self)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the examples, and check that the module maps them to their own shape."""
        refuse_sharded(trainer, self)
        self._monitors = Monitors(trainer, f"{self.name}/")
        self._warn_of_old_values(trainer)
        self.begin_tracking(trainer, pl_module)
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

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Look at the rows that ``training_step`` is given, before anything changes them."""
        self.observe(trainer, pl_module, batch, batch_idx)

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

    def _send_to_loggers(self, trainer: Trainer) -> None:
        self._reporter.send_to_loggers(trainer, self.history)

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
        if self.record_last(trainer, pl_module):
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
        if self.record_last(trainer, module):
            self._send_to_loggers(trainer)
        self.advise(module)
        if self.verbose:
            rank_zero_info(self.table())

    @property
    def state_key(self) -> str:
        """Return the key of this state, by which callbacks of different names can stand side by side."""
        return self._generate_state_key(name=self.name)
