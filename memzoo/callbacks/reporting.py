"""Report measured values to loggers, to the progress bar, and to the callbacks that monitor them."""

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from memzoo._generators import keep_generators_unchanged
from memzoo.callbacks.quantities import Quantity

Row = dict[str, Any]
"""One measurement: the step, the epoch, the loss, the quantities by their keys, and the seconds that it took.

Where something could not be measured, ``reason`` says why, and what is not known is NaN. ``provisional`` stands in the
rows that were measured on a sample of the examples so far, before the first epoch had ended.
"""


class Reporter:
    """Log the values of each measurement once.

    Args:
        name: First part of the keys.
        kind: Kind of the callback in the table of quantities.
        quantities: Quantities that are logged.
    """

    def __init__(self, name: str, kind: str, quantities: tuple[Quantity, ...]) -> None:
        self.prefix: str = f"{name}/"
        self.if_not_finite: Row = {self.prefix + row.key: row.if_not_finite for row in quantities}
        self._in_progress_bar = {self.prefix + row.key: kind in row.progress_bar for row in quantities}
        self._logged_rows = -1
        self._logged_this_run = False
        self._sent_rows = 0
        self._logger_step: int | None = None
        self._failed_loggers: set[int] = set()

    def begin(self, history: list[Row]) -> None:
        """Begin a run, perhaps a resumed one, whose monitors need the last values at once."""
        self._logged_this_run = False
        self._sent_rows = len(history)

    def count_batch(self, trainer: Trainer) -> None:
        """Remember the number that Lightning gives to the present state in loggers: it counts batches that step."""
        loop: Any = getattr(trainer, "fit_loop", None)
        self._logger_step = getattr(getattr(loop, "epoch_loop", None), "_batches_that_stepped", None)

    def log_between_batches(self, module: LightningModule, row: Row) -> None:
        """Log for callbacks such as ModelCheckpoint; :meth:`send_to_loggers` serves the loggers."""
        if self._failed(row) and self._logged_this_run:
            return
        self._logged_this_run = True
        for key in self._in_progress_bar:
            module.log(key, row[key], on_step=True, on_epoch=False, logger=False, batch_size=1)

    def log_after_epoch(self, trainer: Trainer, module: LightningModule, history: list[Row], *, is_new: bool) -> None:
        """Log the last row of the history, unless it is old or was logged before; loggers are served apart.

        Args:
            trainer: The Trainer of the run.
            module: The module in training.
            history: All measurements.
            is_new: The last row is of the present step.
        """
        # The first call of a run always logs: a monitor of a resumed run looks for its key after the first epoch.
        if self._logged_this_run and (not is_new or self._logged_rows == len(history) or self._failed(history[-1])):
            return
        self._logged_this_run = True
        self._logged_rows = len(history)
        several = trainer.world_size > 1
        # The last row of a resumed run may come from an earlier version, which measured fewer quantities.
        measured = [(key, in_bar) for key, in_bar in self._in_progress_bar.items() if key in history[-1]]
        for key, in_bar in measured:
            value = history[-1][key]
            module.log(key, value, prog_bar=in_bar, on_epoch=True, logger=False, sync_dist=several, batch_size=1)

    def _failed(self, row: Row) -> bool:
        """Tell whether nothing was measured: the keys then keep their values, since NaN would end the run."""
        known = [row.get(key, math.nan) for key in self._in_progress_bar if key != f"{self.prefix}measured"]
        return all(math.isnan(value) for value in known)

    def log_outside_of_fit(self, trainer: Trainer, module: LightningModule, values: Row) -> None:
        """Log in ``Trainer.validate`` and ``Trainer.test``."""
        for key in self._in_progress_bar:
            module.log(key, values[key], on_epoch=True, sync_dist=trainer.world_size > 1, batch_size=1)

    def send_to_loggers(self, trainer: Trainer, history: list[Row]) -> None:
        """Send the last row to the loggers, if it is new; one that fails gets no row, and training goes on."""
        if not self._in_progress_bar or self._sent_rows == len(history):
            return
        self._sent_rows = len(history)
        values: dict[str, float] = {key: history[-1][key] for key in self._in_progress_bar}
        values["epoch"] = history[-1]["epoch"]
        step = trainer.global_step - 1 if self._logger_step is None else self._logger_step
        for logger in trainer.loggers:
            try:
                with keep_generators_unchanged():
                    logger.log_metrics(values.copy(), step=step)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a full disk, a lost connection, or anything else that a logger raises
                if id(logger) not in self._failed_loggers:
                    self._failed_loggers.add(id(logger))
                    rank_zero_warn(
                        f"{type(logger).__name__} failed, it gets no values of {self.prefix[:-1]}, training goes on: "
                        f"{type(error).__name__}: {error}"
                    )
