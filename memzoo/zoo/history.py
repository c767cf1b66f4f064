"""What a training run leaves behind beside its last weights: the course of its loss, and weights on the way."""

import json
import math
from pathlib import Path
from typing import Any, final

from lightning.pytorch import Callback, LightningModule, Trainer
from pydantic import ValidationError
from torch import Tensor

from memzoo.errors import CorruptCheckpointError
from memzoo.models import Config

DIGITS = 6  # of a recorded loss


class History(Config):
    """``history.json``: the course of a training run."""

    loss: list[tuple[int, float]]
    """(optimizer step, loss before it), geometrically spaced; of an ensemble, the largest of members in training."""
    measured: list[dict[str, float | None]] = []
    """What the callback measured on the way, one dict a measurement; null where a value was not finite."""
    same_run: bool = True
    """False where the weights come from an earlier run of the same recipe and seed on another machine."""


def history_of(course: list[tuple[int, float]], measured: list[dict[str, float]]) -> History:
    """The course of a run's loss and the measurements of its callback, as they are stored."""
    rows = [{key: value if math.isfinite(value) else None for key, value in row.items()} for row in measured]
    return History(loss=[(step, float(f"{loss:.{DIGITS}g}")) for step, loss in course], measured=rows)


def write_history(history: History, path: Path) -> None:
    """Write ``history.json``."""
    path.write_text(json.dumps(history.model_dump(mode="json")) + "\n", encoding="utf-8")


def read_history(path: Path) -> History:
    """The checked ``history.json`` of a checkpoint."""
    try:
        return History.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is not the history of a training run: {error}") from error


@final
class KeepSteps(Callback):
    """Keep the weights of a run after the optimizer steps in ``keep``."""

    def __init__(self, keep: list[int]) -> None:
        self.keep = keep
        self.kept: dict[int, dict[str, Tensor]] = {}
        self.epochs: dict[int, int] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Copy the weights where this step is one to keep."""
        step = trainer.global_step
        if step in self.keep and step not in self.kept:
            self.kept[step] = {  # stored as the final weights are
                name: value.detach().cpu().float().clone() if value.is_floating_point() else value.cpu().clone()
                for name, value in pl_module.state_dict().items()
            }
            self.epochs[step] = trainer.current_epoch + 1
