"""Watch a run of gradient descent for divergence, overflow and underflow, and report each at once."""

import math
from typing import final

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from memzoo.errors import TrainingDivergedError

EVERY = 100
"""Optimizer steps between two checks of the gradients, and between two copies of the weights."""
RATIO = 1.04
"""Ratio of two recorded steps: every decade then holds equally many of them."""


@final
class Watch:
    """Check the loss of every step; every hundred steps keep the weights and check the gradients.

    ``course`` holds (step, loss before it) at geometrically spaced steps.

    Args:
        module: The network in training.
    """

    kept_step: int
    kept_loss: float
    step: int
    value: float

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kept: dict[str, Tensor] = {}
        self.kept_step = -EVERY
        self.kept_loss = math.nan
        self.warned: bool = False
        self.step = 0
        self.value = math.nan
        self.course: list[tuple[int, float]] = []

    def check_loss(self, step: int, value: float) -> None:
        """Check the loss before step ``step``.

        Raises:
            TrainingDivergedError: The loss is NaN or infinite; the weights kept last are put back first.
        """
        self.step = step
        self.value = value
        if not math.isfinite(value):
            self._restore_and_raise(f"the loss is {value} at optimizer step {step}")
        last_recorded = self.course[-1][0] if self.course else -1
        if step >= max(last_recorded + 1, last_recorded * RATIO):
            self.course.append((step, value))
        if step - self.kept_step >= EVERY:
            self.kept = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
            self.kept_step = step
            self.kept_loss = value

    def check_gradients(self) -> None:
        """Check the gradients at the steps whose weights are kept.

        Raises:
            TrainingDivergedError: A gradient is not finite although the loss is.
        """
        if self.step != self.kept_step:
            return
        largest = {
            name: parameter.grad.abs().max().item()
            for name, parameter in self.module.named_parameters()
            if parameter.grad is not None and parameter.grad.numel()
        }
        for name, value in largest.items():
            if not math.isfinite(value):
                self._restore_and_raise(
                    f"the gradient of {name} overflows at optimizer step {self.step}, loss {self.value:.4g}"
                )
        self._warn_about_zeros(largest)

    def _warn_about_zeros(self, largest: dict[str, float]) -> None:
        """Warn once if the gradient of every weight is exactly zero although the loss is not."""
        # Biases may still learn where no weight does. A zero gradient of one layer alone is normal: a residual
        # block may be off.
        of_weights = [
            largest[name]
            for name, parameter in self.module.named_parameters()
            if parameter.dim() > 1 and name in largest
        ]
        stuck = of_weights and not any(of_weights)
        if stuck and not self.warned and self.value > torch.finfo(torch.float32).eps:
            self.warned = True
            rank_zero_warn(
                f"the gradient of every weight is exactly zero at optimizer step {self.step}, loss {self.value:.4g}: a "
                "product of small numbers underflowed, or all units are dead. Start from larger weights, train in "
                "float64 (Trainer(precision='64-true')), or add skip connections."
            )

    def _restore_and_raise(self, what: str) -> None:
        """Put the weights kept last back, and raise the error that says what happened."""
        outcome = "no finite loss was seen before"
        if self.kept:
            self.module.load_state_dict(self.kept)
            outcome = f"the weights of step {self.kept_step} (loss {self.kept_loss:.4g}) were put back"
        # The user may keep the model that failed, which then need not carry the copy.
        self.kept = {}
        raise TrainingDivergedError(f"training diverged: {what}; {outcome}. Lower lr, or the scale of the images.")
