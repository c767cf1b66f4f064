"""What may go wrong in a run of gradient descent, said at once: divergence, overflow, underflow."""

import math
from typing import final

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from memzoo.errors import TrainingDivergedError

EVERY = 100  # optimizer steps between two looks at gradients and two copies of the weights
RATIO = 1.04  # between two recorded steps: as many points in every decade


@final
class Watch:
    """Looks at the loss of every step; every hundred steps keeps the weights and looks at the gradients.

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
        self.kept_step, self.kept_loss = -EVERY, math.nan
        self.warned: bool = False
        self.step, self.value = 0, math.nan
        self.course: list[tuple[int, float]] = []

    def loss(self, step: int, value: float) -> None:
        """Look at the loss before step ``step``.

        Raises:
            TrainingDivergedError: It is NaN or infinite; the weights kept last are put back first.
        """
        self.step, self.value = step, value
        if not math.isfinite(value):
            self._diverged(f"the loss is {value} at optimizer step {step}")
        last = self.course[-1][0] if self.course else -1
        if step >= max(last + 1, last * RATIO):
            self.course.append((step, value))
        if step - self.kept_step >= EVERY:
            self.kept = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
            self.kept_step, self.kept_loss = step, value

    def gradients(self) -> None:
        """Look at the gradients where the weights were just kept.

        Raises:
            TrainingDivergedError: One is not finite although the loss is.
        """
        if self.step != self.kept_step:
            return
        norms = {
            name: parameter.grad.abs().max().item()
            for name, parameter in self.module.named_parameters()
            if parameter.grad is not None and parameter.grad.numel()
        }
        over = [name for name, norm in norms.items() if not math.isfinite(norm)]
        if over:
            self._diverged(f"the gradient of {over[0]} overflows at optimizer step {self.step}, loss {self.value:.4g}")
        # biases may still learn where all weights have stopped; single zeros are no news (a residual block that is off)
        weights = {name for name, parameter in self.module.named_parameters() if parameter.dim() > 1} & norms.keys()
        stuck = weights and all(norms[name] == 0 for name in weights)
        if stuck and not self.warned and self.value > torch.finfo(torch.float32).eps:
            self.warned = True
            rank_zero_warn(
                f"the gradient of every weight is exactly zero at optimizer step {self.step}, loss {self.value:.4g}: a "
                "product of small numbers underflowed, or all units are dead. Start from larger weights, train in "
                "float64 (Trainer(precision='64-true')), or add skip connections."
            )

    def _diverged(self, what: str) -> None:
        self.module.load_state_dict(self.kept or self.module.state_dict())
        back = (
            f"the weights of step {self.kept_step} (loss {self.kept_loss:.4g}) were put back"
            if self.kept
            else "no finite loss was seen before"
        )
        self.kept = {}  # a model that failed is kept without its copy
        raise TrainingDivergedError(f"training diverged: {what}; {back}. Lower lr, or the scale of the images.")
