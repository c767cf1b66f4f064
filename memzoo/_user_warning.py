"""Warn at the line of the user's own code."""

import sys
import warnings
from types import FrameType

LIBRARIES = {"memzoo", "torch", "contextlib", "functools", "lightning", "pytorch_lightning"}
"""Packages between the user's line and a warning: a decorator of torch, a trainer that calls a callback."""


def warn_user(message: str) -> None:
    """Issue a warning that names the line which called memzoo, however many functions are between.

    Args:
        message: What happened, and what to do.

    Warns:
        UserWarning: Always.
    """
    level = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_of_library(frame):
        frame = frame.f_back
        level += 1
    warnings.warn(message, stacklevel=2 if frame is None else level)


def _is_of_library(frame: FrameType) -> bool:
    """Tell whether a frame executes code of a library."""
    return frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES
