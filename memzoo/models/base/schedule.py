"""Learning-rate schedules."""

import math
from collections.abc import Callable

from memzoo.models.base.config import Training


def learning_rate_factor(training: Training) -> Callable[[int], float]:
    """Factor on the learning rate before each step: 1, then over the last ``decay`` of the steps half a cosine.

    Example:
        >>> factor = learning_rate_factor(Training(schedule="cosine", decay=0.5, steps=100))
        >>> factor(0), factor(50), round(factor(75), 3), factor(100)
        (1.0, 1.0, 0.5, 0.0)
    """
    if training.schedule == "constant":
        return lambda _: 1.0
    begin = training.steps * (1 - training.decay)

    def factor(step: int) -> float:
        done = max(0.0, min(1.0, (step - begin) / (training.steps - begin)))
        return 0.5 * (1 + math.cos(math.pi * done))

    return factor
