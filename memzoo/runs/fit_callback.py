"""A callback whose state belongs to one fit, and the callbacks of a Trainer."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from memzoo.runs.launched import Launchable, return_results
from memzoo.runs.run import Run


def callbacks_of(run: Run) -> list[Callback]:
    """Return the callbacks of a run; Lightning sets this attribute of a Trainer without declaring it."""
    return run.callbacks  # pyright: ignore[reportAttributeAccessIssue]


class FitCallback(Launchable, Callback):
    """Begin anew with every fit, and take the state of a checkpoint only in a fit.

    After a run in processes that the Trainer launches (``ddp_spawn``, ``ddp_fork``, ``ddp_notebook``), the callback in
    the main process is as the one of the first of these processes.

    Lightning hands the states of callbacks out in ``Trainer.validate`` and ``Trainer.test`` too. There, a checkpoint is
    only looked at and no run is resumed: its state would overwrite what the last fit left.
    """

    _stage: str = "fit"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin a new fit; Lightning reads the checkpoint of a resumed run after this."""
        self._stage = stage
        return_results(trainer)
        if stage == "fit":
            self.begin(trainer, pl_module)

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last fit."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the state of a checkpoint, in a fit alone."""
        if self._stage == "fit":
            self.resume(state_dict)

    def resume(self, state: dict[str, Any]) -> None:
        """Take over the state of the run that is resumed."""
