"""What every run of Lightning needs: a state that belongs to one fit, its last state on disk, and why the run ended."""

from memzoo.runs.fit_callback import FitCallback, callbacks_of
from memzoo.runs.keep_last import BEFORE, LAST, KeepLast, check_checkpoint, find_last, read_stopping_reason
from memzoo.runs.reason import ends_here, stopping_reason
from memzoo.runs.run import Run

__all__ = [
    "BEFORE",
    "LAST",
    "FitCallback",
    "KeepLast",
    "Run",
    "callbacks_of",
    "check_checkpoint",
    "ends_here",
    "find_last",
    "read_stopping_reason",
    "stopping_reason",
]
