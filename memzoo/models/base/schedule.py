"""Learning-rate schedules."""

import math
from collections.abc import Callable

from memzoo.models.base.config import Training

RAMP_START = 0.05
"""Factor with which a ramp begins."""


def build_schedule(training: Training) -> Callable[[int], float]:
    """Build the function that gives the factor on the learning rate before each step.

    The factor is 1, or rises linearly to 1 along a ramp, then falls to 0 as half a cosine over the last ``decay`` of
    the steps.

    Example:
        >>> factor = build_schedule(Training(schedule="cosine", decay=0.5, steps=100))
        >>> factor(0), factor(50), round(factor(75), 3), factor(100)
        (1.0, 1.0, 0.5, 0.0)
        >>> factor = build_schedule(Training(schedule="ramp", decay=0.5, steps=100))
        >>> factor(0), factor(25), factor(50), round(factor(75), 3), factor(100)
        (0.05, 0.525, 1.0, 0.5, 0.0)
    """
    if training.schedule == "constant":
        return lambda _: 1.0
    begin = training.steps * (1 - training.decay)

    def factor(step: int) -> float:
        if training.schedule == "ramp" and step < begin:
            return RAMP_START + (1 - RAMP_START) * step / begin
        # the share of the decay that is over, in [0, 1]
        progress = (step - begin) / (training.steps - begin)
        progress = max(0.0, min(1.0, progress))
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor
