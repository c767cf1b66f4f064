"""Say in words why a run ended."""

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer

from memzoo._twins import is_kind
from memzoo.runs.fit_callback import callbacks_of


def ends_here(trainer: Trainer) -> bool:
    """Tell whether the run is known to end with this epoch, so that its closing state can be logged and monitored."""
    if _reached_limit(trainer.max_epochs, trainer.current_epoch + 1):
        return True
    return _reached_limit(trainer.max_steps, trainer.global_step) or (trainer.should_stop and _may_stop(trainer))


def stopping_reason(trainer: Trainer, exception: BaseException | None = None) -> str:
    """Say what ended the run: an interruption, a callback, or a limit of the Trainer."""
    if exception is not None:
        return f"interrupted ({type(exception).__name__})"
    for callback in callbacks_of(trainer):
        reason = _reason_of_callback(callback)
        if reason is not None:
            return reason
    if _reached_limit(trainer.max_steps, trainer.global_step):
        return f"max_steps={trainer.max_steps} reached"
    if _reached_limit(trainer.max_epochs, trainer.current_epoch):
        return f"max_epochs={trainer.max_epochs} reached"
    return "trainer.should_stop was set" if trainer.should_stop else "the data ended"


def _reason_of_callback(callback: Callback) -> str | None:
    """Say why this callback ended the run, None if it did not."""
    reason = getattr(callback, "stopped_because", None)  # set by the rules of memzoo.callbacks
    if isinstance(reason, str):
        return reason
    if is_kind(callback, EarlyStopping) and callback.stopping_reason_message is not None:
        return f"EarlyStopping: {callback.stopping_reason_message.strip()}"
    if is_kind(callback, Timer):
        seconds_left = callback.time_remaining()
        if seconds_left is not None and seconds_left <= 0:
            return "max_time reached"
    return None


def _may_stop(trainer: Trainer) -> bool:
    """Tell whether the least numbers of epochs and steps of the Trainer are reached."""
    enough_epochs = (trainer.min_epochs or 0) <= trainer.current_epoch + 1
    enough_steps = (trainer.min_steps or 0) <= trainer.global_step
    return enough_epochs and enough_steps


def _reached_limit(limit: int | None, count: int) -> bool:
    """Tell whether ``count`` has reached a limit; None and -1 are no limits."""
    return limit is not None and 0 <= limit <= count
