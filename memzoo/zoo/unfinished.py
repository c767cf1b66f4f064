"""A training run that may be interrupted: its state in a folder of its own, until the checkpoint is complete."""

import json
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer

from memzoo.callbacks import KeepGenerators
from memzoo.callbacks.keep_last import LAST, KeepLast
from memzoo.zoo.entry import Recipe

RECIPE = "recipe.json"
DECIDES = {"training", "seed", "batch_size", "steps_per_epoch", "precision", "keep"}  # what a run must go on with
SAVES = timedelta(seconds=60)  # between two states


class Unfinished:
    """What a run of a recipe needs to be gone on with.

    Args:
        folder: That holds its state.
        recipe: That it follows, with the seed in use.

    Raises:
        FileExistsError: The folder holds the state of another recipe or seed.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.clock = Timer(verbose=False)
        about = json.loads(recipe.model_dump_json(include=DECIDES))
        folder.mkdir(parents=True, exist_ok=True)
        known = folder / RECIPE
        if (folder / LAST).is_file() and (not known.is_file() or json.loads(known.read_text("utf-8")) != about):
            raise FileExistsError(
                f"{folder} holds an unfinished run of another recipe or seed; remove it to begin anew, or give another "
                "--out."
            )
        known.write_text(json.dumps(about) + "\n", encoding="utf-8")

    @property
    def state(self) -> Path | None:
        """Checkpoint to go on from; None at the beginning."""
        path = self.folder / LAST
        return path if path.is_file() else None

    def options(self, callbacks: Sequence[Callback], given: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the Trainer: those of the recipe, then the caller's own."""
        theirs = given.get("callbacks") or []
        theirs = theirs if isinstance(theirs, list) else [theirs]
        saver = KeepLast(self.folder, every_s=SAVES.total_seconds())
        return {
            "max_steps": self.recipe.training.steps,
            "max_epochs": -1,
            "logger": False,
            "precision": self.recipe.precision,
            **given,
            "callbacks": [*callbacks, KeepGenerators(), self.clock, *theirs, saver],
        }

    @property
    def seconds(self) -> float:
        """Training time, the parts before interruptions included."""
        return round(self.clock.time_elapsed("train"), 1)

    def finish(self) -> None:
        """The checkpoint is complete: the state is no longer needed."""
        shutil.rmtree(self.folder)
