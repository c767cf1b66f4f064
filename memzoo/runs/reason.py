"""Why a run ended, in words."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer


def ends_here(trainer: Trainer) -> bool:
    """The run is known to end with this epoch, so its closing state can still be logged and monitored."""
    epochs = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
    return epochs or _all_steps(trainer) or (trainer.should_stop and _may_stop(trainer))


def stopping_reason(trainer: Trainer, exception: BaseException | None = None) -> str:
    """Who or what ended the run: an interruption, a callback, or the limits of the Trainer."""
    if exception is not None:
        return f"interrupted ({type(exception).__name__})"
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    for callback in callbacks:
        told = getattr(callback, "stopped_because", None)  # the rules of this package
        if isinstance(told, str):
            return told
        if isinstance(callback, EarlyStopping) and (said := callback.stopping_reason_message) is not None:
            return f"EarlyStopping: {said.strip()}"
        if isinstance(callback, Timer):
            left = callback.time_remaining()
            if left is not None and left <= 0:
                return "max_time reached"
    if _all_steps(trainer):
        return f"max_steps={trainer.max_steps} reached"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return f"max_epochs={trainer.max_epochs} reached"
    return "trainer.should_stop was set" if trainer.should_stop else "the data ended"


def _may_stop(trainer: Trainer) -> bool:
    """The epochs and steps are there that the Trainer was told to make at least."""
    epochs = (trainer.min_epochs or 0) <= trainer.current_epoch + 1
    return epochs and (trainer.min_steps or 0) <= trainer.global_step


def _all_steps(trainer: Trainer) -> bool:
    return 0 <= trainer.max_steps <= trainer.global_step
