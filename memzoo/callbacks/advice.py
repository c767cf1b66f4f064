"""Warn if the last state of a run shows a problem that the user can solve."""

import math

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from memzoo.callbacks.reporting import Row

FALLING = 0.5
"""A loss that falls below this share over the last quarter of the run is still falling."""
FAR = 0.1
"""A network whose relative residual is above this value does not reproduce its examples."""


def give_advice(module: nn.Module, history: list[Row], name: str) -> None:
    """Warn if the run was stopped too early to say much, or if training used another map than the measured one.

    Args:
        module: The module, still in the mode in which it was trained.
        history: History of an attractor callback.
        name: First part of its keys.
    """
    last = history[-1]
    residual = last.get(f"{name}/residual", math.nan)
    changing = sorted({type(part).__name__ for part in module.modules() if _differs_in_training(part)})
    if residual > FAR and changing and last["loss"] < FAR**2:
        rank_zero_warn(
            f"{', '.join(changing)} make the network another one in training than in eval mode, where it was measured: "
            f"there it reproduces the training examples with a relative residual of {residual:.2g}. Train without "
            "them, or call .eval() on them for the last epochs, before taking what was measured for what was learned."
        )
        return
    # Where all examples are attractors, a falling loss changes nothing.
    before = _find_earlier_loss(history)
    if before is None or last.get(f"{name}/fraction", 1.0) >= 1:
        return
    if last["loss"] < FALLING * before["loss"]:
        rank_zero_warn(
            f"the loss was still falling when the run ended ({before['loss']:.1e} at step {before['step']:.0f}, "
            f"{last['loss']:.1e} at step {last['step']:.0f}): attractors may still form; train longer to know."
        )


def _differs_in_training(part: nn.Module) -> bool:
    """Tell whether a layer computes something else in training than in eval mode: dropout or batch norm."""
    if not part.training:
        return False
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p > 0
    return isinstance(part, nn.modules.batchnorm._BatchNorm)


def _find_earlier_loss(history: list[Row]) -> Row | None:
    """Return the last row before the last quarter of the run.

    Return None if this row belongs to the first quarter, which is too early for a comparison, or if one of the losses
    is zero or not finite, so that they have no ratio.
    """
    last = history[-1]
    earlier = [row for row in history if 0 < row["step"] <= 0.75 * last["step"]]
    if not earlier or earlier[-1]["step"] < 0.25 * last["step"]:
        return None
    losses = (earlier[-1]["loss"], last["loss"])
    return earlier[-1] if all(loss > 0 and math.isfinite(loss) for loss in losses) else None
