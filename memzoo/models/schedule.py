"""Learning-rate schedules."""

import math
from bisect import bisect_right
from collections.abc import Callable

from memzoo.models.config import Training


def learning_rate_factor(training: Training) -> Callable[[int], float]:
    """Factor on the learning rate before each step: 1, then over the last ``decay`` of the steps half a cosine.

    With ``restarts`` that holds for each stretch from one of them to the next.

    Example:
        >>> factor = learning_rate_factor(Training(schedule="cosine", decay=0.5, steps=100))
        >>> factor(0), factor(50), round(factor(75), 3), factor(100)
        (1.0, 1.0, 0.5, 0.0)
        >>> factor = learning_rate_factor(Training(schedule="cosine", steps=100, restarts=[20]))
        >>> round(factor(10), 3), factor(20), round(factor(60), 3), factor(100)
        (0.5, 1.0, 0.5, 0.0)
    """
    if training.schedule == "constant":
        return lambda _: 1.0
    stretches = [0, *training.restarts, training.steps]

    def factor(step: int) -> float:
        which = min(bisect_right(stretches, step), len(stretches) - 1)
        start, end = stretches[which - 1], stretches[which]
        begin = end - (end - start) * training.decay
        done = max(0.0, min(1.0, (step - begin) / (end - begin)))
        return 0.5 * (1 + math.cos(math.pi * done))

    return factor
