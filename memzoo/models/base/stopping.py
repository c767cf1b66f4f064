"""Stop a run when enough examples are recovered."""

from typing import final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from memzoo.errors import InvalidArgumentError

KEY = "attractor/recovered"


@final
class StopWhenRecovered(EarlyStopping):
    """Stop the run when a share of the tracked examples is recovered, as ``AttractorCallback`` logs it."""

    def __init__(self, share: float) -> None:
        self.share = share
        super().__init__(
            KEY,
            mode="max",
            stopping_threshold=share - 1e-6,  # the value must exceed the threshold
            patience=2**31,
            check_on_train_epoch_end=True,
            check_finite=False,  # a measurement that failed does not end the run
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a run that has no callback for this measurement."""
        callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        if not any(KEY in getattr(callback, "keys", ()) for callback in callbacks):
            raise InvalidArgumentError(
                f"stop_recovered={self.share} needs the measurement {KEY!r}; "
                "add memzoo.callbacks.AttractorCallback() to the Trainer's callbacks."
            )
