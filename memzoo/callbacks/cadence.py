"""When to measure: at epochs, at optimizer steps, or as often as a share of the training time allows."""

import math
from typing import Any

from memzoo.errors import InvalidArgumentError

BETWEEN = 200  # batches; longer epochs are measured between batches too


class Cadence:
    """Decides at each possible moment whether a measurement is due.

    With a budget, a measurement is due once all measurements so far, this one and a closing one of the same cost would
    together take no more than that share of the training time. It is turned into an optimizer step, so that all
    processes and a resumed run agree.

    Args:
        every_n_epochs: At every so many epochs.
        every_n_steps: At every so many optimizer steps.
        budget: Share of the training time, where neither of the two is given.
    """

    every_n_epochs: int | None
    every_n_steps: int | None
    budget: float
    measuring_s: float
    training_s: float

    def __init__(self, every_n_epochs: int | None, every_n_steps: int | None, budget: float) -> None:
        if not 0 < budget <= 1:
            raise InvalidArgumentError(f"budget is a share of the training time in (0, 1], got {budget}.")
        for name, value in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
            if value is not None and value < 1:
                raise InvalidArgumentError(f"{name} must be at least 1, got {value}.")
        if every_n_epochs is not None and every_n_steps is not None:
            raise InvalidArgumentError("give every_n_epochs or every_n_steps, not both; or neither, for the budget.")
        self.every_n_epochs, self.every_n_steps, self.budget = every_n_epochs, every_n_steps, budget
        self.forget()

    def forget(self) -> None:
        """A new run."""
        self.next_step = 0
        self.measuring_s = 0.0
        self.training_s = 0.0
        self.steps = 0

    @property
    def by_budget(self) -> bool:
        """The time decides."""
        return self.every_n_epochs is None and self.every_n_steps is None

    def due_after_epoch(self, step: int, epoch: int) -> bool:
        """A measurement is due at the end of ``epoch`` (0 is the first)."""
        if self.every_n_epochs is not None:
            return (epoch + 1) % self.every_n_epochs == 0
        return step >= self.next_step

    def due_after_batch(self, step: int, batches: float) -> bool:
        """A measurement is due between two of the ``batches`` of an epoch."""
        if self.every_n_steps is not None:
            return step >= max(self.next_step, self.every_n_steps)
        return self.by_budget and batches > BETWEEN and step >= max(self.next_step, BETWEEN // 2)

    def early(self, cost_s: float) -> bool:
        """The steps went faster than they were taken to: measuring now would go beyond the budget."""
        return self.by_budget and self.training_s < self._enough(cost_s)

    def plan(self, step: int, cost_s: float) -> int:
        """The step of the next measurement, if it costs as much as the last one."""
        if self.every_n_steps is not None:
            return (step // self.every_n_steps + 1) * self.every_n_steps
        if self.every_n_epochs is not None:
            return step + 1
        per_step = max(self.training_s, 1e-9) / max(self.steps, 1)
        return step + max(1, math.ceil((self._enough(cost_s) - self.training_s) / per_step - 1e-9))

    def _enough(self, cost_s: float) -> float:
        """Training time after which one more measurement, and a closing one, keep the budget."""
        return (self.measuring_s + 2 * cost_s) / self.budget

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {name: getattr(self, name) for name in ("next_step", "measuring_s", "training_s", "steps")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as before."""
        for name, value in state.items():
            setattr(self, name, value)
