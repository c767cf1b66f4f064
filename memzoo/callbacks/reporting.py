"""Report measured values to loggers, to the progress bar, and to the callbacks that monitor them."""

from lightning.pytorch import LightningModule, Trainer

from memzoo.callbacks.quantities import Quantity
from memzoo.runs import callbacks_of

Row = dict[str, float]
"""One measurement: the step, the epoch, the loss, the quantities by their keys, and the seconds that it took."""


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

    def begin(self) -> None:
        """Begin a run, perhaps a resumed one, whose monitors need the last values at once."""
        self._logged_this_run = False

    def is_monitored(self, trainer: Trainer) -> bool:
        """Tell whether a callback monitors one of the keys."""
        monitors = [str(getattr(callback, "monitor", None)) for callback in callbacks_of(trainer)]
        return any(monitor.startswith(self.prefix) for monitor in monitors)

    def log_between_batches(self, module: LightningModule, row: Row) -> None:
        """Log for callbacks such as ModelCheckpoint; :meth:`send_to_loggers` serves the loggers."""
        for key in self._in_progress_bar:
            module.log(key, row[key], on_step=True, on_epoch=False, logger=False, batch_size=1)

    def log_after_epoch(self, trainer: Trainer, module: LightningModule, history: list[Row], *, is_new: bool) -> None:
        """Log the last row of the history, unless it is old or was logged before.

        Args:
            trainer: The Trainer of the run.
            module: The module in training.
            history: All measurements.
            is_new: The last row is of the present step.
        """
        # The first call of a run always logs: a monitor of a resumed run looks for its key after the first epoch.
        if self._logged_this_run and (not is_new or self._logged_rows == len(history)):
            return
        self._logged_this_run = True
        self._logged_rows = len(history)
        several = trainer.world_size > 1
        # The last row of a resumed run may come from an earlier version, which measured fewer quantities.
        measured = [(key, in_bar) for key, in_bar in self._in_progress_bar.items() if key in history[-1]]
        for key, in_bar in measured:
            module.log(key, history[-1][key], prog_bar=in_bar, on_epoch=True, sync_dist=several, batch_size=1)

    def log_outside_of_fit(self, trainer: Trainer, module: LightningModule, values: Row) -> None:
        """Log in ``Trainer.validate`` and ``Trainer.test``."""
        for key in self._in_progress_bar:
            module.log(key, values[key], on_epoch=True, sync_dist=trainer.world_size > 1, batch_size=1)

    def send_to_loggers(self, trainer: Trainer, row: Row, epoch: int) -> None:
        """Send a row to the loggers, outside the moments at which Lightning logs by itself."""
        if not self._in_progress_bar:
            return
        values = {key: row[key] for key in self._in_progress_bar}
        for logger in trainer.loggers:
            logger.log_metrics(values | {"epoch": epoch}, step=trainer.global_step - 1)  # Lightning counts from 0
