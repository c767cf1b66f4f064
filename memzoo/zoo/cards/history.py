"""Read and write ``history.json``: the loss and the measurements of a training run, stored beside the weights."""

import json
import math
from pathlib import Path

from pydantic import ValidationError

from memzoo._reading import MOST_PLAIN_VALUES, read_json_object
from memzoo.errors import CorruptCheckpointError
from memzoo.models import Config
from memzoo.zoo.entry import describe_problems

DIGITS = 6  # of a recorded loss


class History(Config):
    """``history.json``: the course of a training run."""

    loss: list[tuple[int, float]]
    """(optimizer step, loss before it), geometrically spaced; of an ensemble, the largest of members in training."""
    measured: list[dict[str, float | None]] = []
    """What the callback measured during the training, one dict a measurement; null where a value was not finite."""
    same_run: bool = True
    """False if the weights come from an earlier run of the same recipe and seed on another machine."""


def make_history(course: list[tuple[int, float]], measured: list[dict[str, float]]) -> History:
    """Make the history of a run from the course of its loss and the measurements of its callback."""
    losses = [(step, float(f"{loss:.{DIGITS}g}")) for step, loss in course]
    rows = [{key: value if math.isfinite(value) else None for key, value in row.items()} for row in measured]
    return History(loss=losses, measured=rows)


def write_history(history: History, path: Path) -> None:
    """Write ``history.json``."""
    part = path.with_name(f"{path.name}.part")  # renamed when it is complete
    part.write_text(json.dumps(history.model_dump(mode="json")) + "\n", encoding="utf-8")
    part.replace(path)


def read_history(path: Path) -> History:
    """Read and check the ``history.json`` of a checkpoint."""
    try:
        return History.model_validate(read_json_object(path, MOST_PLAIN_VALUES))
    except ValidationError as error:
        problems = describe_problems(error)
        raise CorruptCheckpointError(f"{path} is not the history of a training run: {problems}.") from error
