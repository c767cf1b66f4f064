"""What the closing state of a run says that its user can act on."""

import math

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

FALLING = 0.5  # of the loss, over the last quarter of the run
FAR = 0.1  # relative residual


def advice(module: nn.Module, history: list[dict[str, float]], name: str) -> None:
    """Warn where the run was stopped too early to say much, or where what was measured is not what was trained.

    Args:
        module: As it was trained.
        history: Of an attractor callback.
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
    before = _earlier_loss(history)
    if last.get(f"{name}/fraction", 1.0) < 1 and before is not None and last["loss"] < FALLING * before["loss"]:
        rank_zero_warn(
            f"the loss was still falling when the run ended ({before['loss']:.1e} at step {before['step']:.0f}, "
            f"{last['loss']:.1e} at step {last['step']:.0f}): attractors may still form; train longer to know."
        )


def _differs_in_training(part: nn.Module) -> bool:
    dropout = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
    norm = isinstance(part, nn.modules.batchnorm._BatchNorm)
    return part.training and (dropout or norm)


def _earlier_loss(history: list[dict[str, float]]) -> dict[str, float] | None:
    """The last row from before the last quarter of the run, where its loss and the last one are finite and positive."""
    last = history[-1]
    earlier = [row for row in history if 0 < row["step"] <= 0.75 * last["step"]]
    usable = earlier and all(row["loss"] > 0 and math.isfinite(row["loss"]) for row in (earlier[-1], last))
    return earlier[-1] if usable and earlier[-1]["step"] >= 0.25 * last["step"] else None
