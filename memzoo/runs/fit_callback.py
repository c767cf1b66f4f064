"""A callback whose state belongs to a fit."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class FitCallback(Callback):
    """Begins anew with every fit, and takes the state of a checkpoint only there.

    Lightning hands the states of callbacks out in ``Trainer.validate`` and ``Trainer.test`` too, where a checkpoint is
    looked at and no run goes on: what the last fit left would be overwritten.
    """

    _stage: str = "fit"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A new fit; a checkpoint to resume from is read after this."""
        self._stage = stage
        if stage == "fit":
            self.begin(trainer, pl_module)

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last fit."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint stood, in a fit."""
        if self._stage == "fit":
            self.go_on(state_dict)

    def go_on(self, state: dict[str, Any]) -> None:
        """Take the state of the run that is resumed."""
