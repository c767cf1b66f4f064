"""Decide when to measure: at epochs, at optimizer steps, or as often as a share of the training time allows."""

import math
import time
from typing import Any

from memzoo.errors import InvalidArgumentError

BETWEEN = 200
"""An epoch of more batches than this is measured between its batches too."""


class Cadence:
    """Decide at each possible moment whether a measurement is due, and count the time that decides it.

    With a budget, a measurement is due once all measurements so far, this one and a closing one of the same cost would
    together take no more than that share of the training time. It is turned into an optimizer step, so that all
    processes and a resumed run agree.

    Args:
        every_n_epochs: Measure at the end of every n-th epoch.
        every_n_steps: Measure at every n-th optimizer step.
        budget: Share of the training time, if neither of the two is given.
    """

    every_n_epochs: int | None
    every_n_steps: int | None
    budget: float
    next_step: int
    measuring_s: float
    training_s: float
    steps: int

    def __init__(self, every_n_epochs: int | None, every_n_steps: int | None, budget: float) -> None:
        if not 0 < budget <= 1:
            raise InvalidArgumentError(f"budget is a share of the training time in (0, 1], got {budget}.")
        for name, value in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
            if value is not None and value < 1:
                raise InvalidArgumentError(f"{name} must be at least 1, got {value}.")
        if every_n_epochs is not None and every_n_steps is not None:
            raise InvalidArgumentError("give every_n_epochs or every_n_steps, not both; or neither, for the budget.")
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.budget = budget
        self.forget()

    def forget(self) -> None:
        """Forget the last run."""
        self.next_step = 0
        self.measuring_s = 0.0
        self.training_s = 0.0
        self.steps = 0

    @property
    def by_budget(self) -> bool:
        """Tell whether the time decides."""
        return self.every_n_epochs is None and self.every_n_steps is None

    def describe(self) -> str:
        """Return the arguments that were given."""
        if self.every_n_epochs is not None:
            return f"every_n_epochs={self.every_n_epochs}"
        return f"budget={self.budget}" if self.every_n_steps is None else f"every_n_steps={self.every_n_steps}"

    # Decisions --------------------------------------------------------------------------------------------------------

    def due_after_epoch(self, step: int, epoch: int) -> bool:
        """Tell whether a measurement is due at the end of ``epoch`` (0 is the first)."""
        if self.every_n_epochs is not None:
            return (epoch + 1) % self.every_n_epochs == 0
        return step >= self.next_step

    def due_after_batch(self, step: int, batches: float) -> bool:
        """Tell whether a measurement is due between two of the ``batches`` of an epoch."""
        if self.every_n_steps is not None:
            return step >= max(self.next_step, self.every_n_steps)
        return self.by_budget and batches > BETWEEN and step >= max(self.next_step, BETWEEN // 2)

    def early(self, cost_s: float) -> bool:
        """Tell whether a measurement now would exceed the budget, because steps were faster than expected."""
        return self.by_budget and self.training_s < self._least_training_s(cost_s)

    def plan(self, step: int, cost_s: float) -> int:
        """Return the step of the next measurement, if it costs as much as the last one."""
        if self.every_n_steps is not None:
            return (step // self.every_n_steps + 1) * self.every_n_steps
        if self.every_n_epochs is not None:
            return step + 1
        # Steps are planned, not seconds: processes with different clocks agree on a step.
        seconds_per_step = max(self.training_s, 1e-9) / max(self.steps, 1)
        missing_s = self._least_training_s(cost_s) - self.training_s
        # a quotient that rounding lifted above a whole number must not cost one step more
        return step + max(1, math.ceil(missing_s / seconds_per_step - 1e-9))

    def _least_training_s(self, cost_s: float) -> float:
        """Return the training time after which one more measurement and a closing one keep the budget."""
        # measuring + this one + the closing one <= budget * training
        return (self.measuring_s + 2 * cost_s) / self.budget

    # Time -------------------------------------------------------------------------------------------------------------

    def begin(self, step: int) -> None:
        """Start the clock of a run; what was counted before it was resumed is kept."""
        # The clock and the step at which the run would have begun, had it not been interrupted.
        self._origin_s = time.monotonic() - self.training_s - self.measuring_s
        self._origin_step = step - self.steps

    def count_training(self, step: int) -> float:
        """Count the time and the steps of training so far, without the measurements.

        Returns:
            The present time on the clock, in seconds.
        """
        now_s = time.monotonic()
        self.training_s = max(now_s - self._origin_s - self.measuring_s, 0.0)
        self.steps = step - self._origin_step
        return now_s

    def count_measuring(self, since_s: float) -> float:
        """Count the time of a measurement that began at ``since_s`` on the clock, and return it."""
        cost_s = time.monotonic() - since_s
        self.measuring_s += cost_s
        return cost_s

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted and planned, as plain numbers."""
        return {name: getattr(self, name) for name in ("next_step", "measuring_s", "training_s", "steps")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from these numbers."""
        for name, value in state.items():
            setattr(self, name, value)
