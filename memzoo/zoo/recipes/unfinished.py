"""A training run that may be interrupted: its state in a folder of its own, until the checkpoint is complete."""

import json
import platform
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import rank_zero_only

from memzoo.callbacks import KeepGenerators
from memzoo.errors import UsageError
from memzoo.models import Autoencoder
from memzoo.runs import LAST, KeepLast, over, stopping_reason
from memzoo.zoo.entry import Entry, Recipe
from memzoo.zoo.verification import versions_here

RECIPE = "recipe.json"
DECIDES = {"training", "seed", "batch_size", "steps_per_epoch", "precision", "keep"}  # of a recipe
SAVES = timedelta(seconds=60)  # between two states
OTHER = (
    "{folder} holds an unfinished run of another recipe or seed; remove it to begin anew, or give another --out. "
    "Different are: {different}."
)


class Unfinished:
    """What a run of a recipe needs to be gone on with.

    Args:
        folder: That holds its state.
        entry: That it follows, with the seed in use.
        alone: In one process alone, as of a training of several parts.
    """

    folder: Path
    recipe: Recipe
    alone: bool

    def __init__(self, folder: Path, entry: Entry, *, alone: bool = False) -> None:
        self.folder, self.recipe, self.alone = folder, entry.recipe, alone
        self.clock: Timer = Timer()
        self.began: dict[str, Any] = {"versions": versions_here(), "hardware": _machine()}
        recipe = entry.recipe.model_dump(mode="json", include=DECIDES)
        if entry.recipe.targets != "same":  # so that a state of an earlier version can be gone on with
            recipe["targets"] = entry.recipe.targets
        if entry.recipe.before:
            recipe["before"] = [part.model_dump(mode="json") for part in entry.recipe.before]
        self._decides = {
            "architecture": entry.architecture,
            "config": entry.architecture_config().model_dump(mode="json"),
            "images": (entry.training_set or entry.examples).model_dump(mode="json"),
            "recipe": recipe,
        }

    @property
    def state(self) -> Path | None:
        """Checkpoint to go on from; None at the beginning."""
        path = self.folder / LAST
        return path if path.is_file() else None

    @property
    def is_over(self) -> bool:
        """A stopping rule has ended the run: nothing is left but to write the result."""
        return self.state is not None and over(self.state) is not None

    def options(self, callbacks: Sequence[Callback], given: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the Trainer: those of the recipe, then the caller's own."""
        given = dict(given)
        theirs = given.pop("callbacks", None) or []
        theirs = [theirs] if isinstance(theirs, Callback) else list(theirs)
        self.clock = Timer(given.pop("max_time", None))  # Lightning adds none where there is one
        saves = given.get("enable_checkpointing") is not False
        savers = [KeepLast(self.folder, every_s=SAVES.total_seconds())] if saves else []
        return {
            "max_steps": self.recipe.training.steps,
            "max_epochs": -1,
            "logger": False,
            "precision": self.recipe.precision,
            **given,
            "callbacks": [*callbacks, KeepGenerators(), self.clock, *theirs, *savers],
        }

    def check(self) -> dict[str, Any] | None:
        """What the run began with, None at the beginning.

        Raises:
            FileExistsError: The folder holds the state of another recipe or seed.
        """
        if self.state is None:
            return None
        known = self.folder / RECIPE
        before = json.loads(known.read_text("utf-8")) if known.is_file() else {}
        other = [name for name, value in self._decides.items() if before.get("decides", {}).get(name) != value]
        if other:
            raise FileExistsError(OTHER.format(folder=self.folder, different=", ".join(other)))
        return before

    def begin(self, trainer: Trainer) -> None:
        """Note what the run begins with, or check that it goes on with the same.

        Raises:
            FileExistsError: The folder holds the state of another recipe or seed, or of other Trainer options.
            UsageError: A training of several parts in several processes.
        """
        if self.alone and trainer.world_size > 1:
            raise UsageError(
                f"a training of several parts runs in one process, got {trainer.world_size}; give --trainer.devices 1."
            )
        before = self.check()
        if before is not None:
            then, now = before["trainer"], conditions(trainer)
            changed = [name for name, value in now.items() if then.get(name) != value]
            if changed:
                raise FileExistsError(
                    f"{self.folder} holds an unfinished run that began with "
                    f"{', '.join(_text(name, then.get(name)) for name in changed)} and is to go on with "
                    f"{', '.join(_text(name, now[name]) for name in changed)}; give the same Trainer options, or "
                    "remove it to begin anew."
                )
            self.began = before["began"]
        elif trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"decides": self._decides, "trainer": conditions(trainer), "began": self.began}
            (self.folder / RECIPE).write_text(json.dumps(content) + "\n", encoding="utf-8")

    def take_over(self, model: Autoencoder, callbacks: Sequence[Callback]) -> int:
        """Give the network and its callbacks what a run that is over ended with; returns its optimizer steps."""
        assert self.state is not None
        state = torch.load(self.state, map_location="cpu", weights_only=True)
        model.load_state_dict(state["state_dict"])
        model.course = [(int(step), float(loss)) for step, loss in state["memzoo_course"]]
        for callback in (*callbacks, self.clock):
            callback.load_state_dict(state["callbacks"][callback.state_key])
        return state["global_step"]

    @property
    def seconds(self) -> float:
        """Training time, the parts before interruptions included."""
        return round(self.clock.time_elapsed("train"), 1)

    @property
    def hardware(self) -> str:
        """What the run was computed on, and what it began on where that was another machine or version."""
        here = {"versions": versions_here(), "hardware": _machine()}
        if self.began == here:
            return _machine()
        versions = ", ".join(f"{name} {number}" for name, number in self.began["versions"].items())
        return f"{_machine()}; begun on {self.began['hardware']} with {versions}"


def runs_of(entry: Entry, folder: Path, complete: Path) -> list[Unfinished]:
    """The run of each part of a recipe, with its state in ``folder``; of several parts, in a folder each there.

    A state that is older than the file ``complete`` of a complete checkpoint is removed: the run that left it is over.

    Raises:
        FileExistsError: There is the state of another recipe or seed.
    """
    parts = entry.recipe.parts
    places = [folder] if len(parts) == 1 else [folder / f"part-{number}" for number in range(1, len(parts) + 1)]
    states = [*folder.glob(f"part-*/{LAST}"), *folder.glob(LAST)]
    if complete.is_file() and getattr(rank_zero_only, "rank", 0) == 0:
        for state in states:
            if state.is_file() and state.stat().st_mtime_ns <= complete.stat().st_mtime_ns:
                shutil.rmtree(state.parent)
    if any(state.is_file() and state.parent not in places for state in states):
        raise FileExistsError(OTHER.format(folder=folder, different="parts"))
    runs = [
        Unfinished(place, entry.model_copy(update={"recipe": part}), alone=len(parts) > 1)
        for place, part in zip(places, parts, strict=True)
    ]
    for run in runs:
        run.check()
    return runs


def finish(folder: Path) -> None:
    """The checkpoint is complete: the states of its parts are no longer needed."""
    if folder.is_dir():
        shutil.rmtree(folder)


def conditions(trainer: Trainer) -> dict[str, Any]:
    """Options of the Trainer that change the steps of a run, as they are in effect."""
    return {
        "precision": trainer.precision,
        "processes": trainer.world_size,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "limit_train_batches": trainer.limit_train_batches,
    }


def deviations(recipe: Recipe, trainer: Trainer, step: int) -> list[str]:
    """In what a run that ended at this optimizer step differed from its recipe."""
    ordinary = {
        "precision": recipe.precision,
        "processes": 1,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
        "limit_train_batches": 1.0,
    }
    found = [_text(name, value) for name, value in conditions(trainer).items() if value != ordinary[name]]
    training = recipe.training
    may_stop = training.stop_loss is not None or training.stop_recovered is not None
    as_far = (trainer.max_steps, trainer.max_epochs) == (training.steps, -1)
    cut = not may_stop or not as_far or stopping_reason(trainer) == "max_time reached"
    return [*found, f"stopped at step {step}"] if step != training.steps and cut else found


def _text(name: str, value: Any) -> str:
    return f"{value} processes" if name == "processes" else f"{name} {value}"


def _machine() -> str:
    return f"{platform.machine()}, {torch.get_num_threads()} threads"
