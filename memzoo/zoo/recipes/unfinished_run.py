"""Keep the state of a training run in a folder until the checkpoint is complete, so that the run can be interrupted.

The folder holds the last state that Lightning saved, and ``recipe.json``, which describes how the run began. A run that
is started again resumes only if architecture, images, recipe and the options of the Trainer are still the same.
"""

import json
import platform
import shutil
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import rank_zero_only

from memzoo.callbacks import KeepGenerators
from memzoo.errors import AlreadyExistsError, UsageError
from memzoo.models import Autoencoder
from memzoo.runs import LAST, KeepLast, find_last, read_stopping_reason
from memzoo.zoo.entry import Entry
from memzoo.zoo.recipes.deviations import read_conditions, write_condition
from memzoo.zoo.registry import write_text
from memzoo.zoo.verification import find_versions

START = "recipe.json"
IDENTIFYING = {"training", "seed", "batch_size", "steps_per_epoch", "precision", "keep"}  # fields of a recipe
SAVE_INTERVAL = timedelta(seconds=60)  # between two states
OTHER_RUN = (
    "{folder} holds an unfinished run of another recipe or seed; remove it to begin anew, or give another --out. "
    "Different are: {different}."
)


class UnfinishedRun:
    """Begin or resume the run of one part of a recipe.

    Args:
        folder: Folder that holds the state of the run.
        entry: Entry whose recipe the run follows, with the seed in use.
        alone: Whether the run must have one process, as in a training of several parts.
    """

    def __init__(self, folder: Path, entry: Entry, *, alone: bool = False) -> None:
        self.folder = folder
        self.recipe = entry.recipe
        self.alone = alone
        self.timer = Timer()
        self.start: dict[str, Any] = _describe_installation()
        self.identity = _identify(entry)

    @cached_property
    def state(self) -> Path | None:
        """Return the checkpoint to resume from; None at the beginning. It is read and checked once."""
        return find_last(self.folder)

    @property
    def is_over(self) -> bool:
        """Tell whether a stopping rule has ended the run, so that only its result must be written."""
        return self.state is not None and read_stopping_reason(self.state) is not None

    def make_trainer(self, callbacks: Sequence[Callback], options: dict[str, Any]) -> Trainer:
        """Make a Trainer with the options of the recipe; ``options`` of the caller replace them."""
        options = dict(options)
        own_callbacks = options.pop("callbacks", None) or []
        if isinstance(own_callbacks, Callback):
            own_callbacks = [own_callbacks]
        self.timer = Timer(options.pop("max_time", None))  # Lightning adds none if there is one
        added: list[Callback] = [KeepGenerators(), self.timer, *own_callbacks]
        if options.get("enable_checkpointing") is not False:
            added.append(KeepLast(self.folder, every_s=SAVE_INTERVAL.total_seconds()))
        of_the_recipe = {
            "max_steps": self.recipe.training.steps,
            "max_epochs": -1,  # the steps alone end the run
            "logger": False,
            "precision": self.recipe.precision,
        }
        return Trainer(**{**of_the_recipe, **options, "callbacks": [*callbacks, *added]})

    def read_start(self) -> dict[str, Any] | None:
        """Read the description of how the run began; None at the beginning.

        Raises:
            AlreadyExistsError: The folder holds the state of another recipe or seed.
        """
        if self.state is None:
            return None
        path = self.folder / START
        start = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        known = start.get("decides", {})
        different = [name for name, value in self.identity.items() if known.get(name) != value]
        if different:
            raise AlreadyExistsError(OTHER_RUN.format(folder=self.folder, different=", ".join(different)))
        return start

    def begin_or_resume(self, trainer: Trainer) -> None:
        """Write how the run begins, or check that it resumes in the same way.

        Raises:
            AlreadyExistsError: The folder holds the state of another recipe or seed, or of other Trainer options.
            UsageError: A training of several parts in several processes.
        """
        if self.alone and trainer.world_size > 1:
            raise UsageError(
                f"a training of several parts runs in one process, got {trainer.world_size}; give --trainer.devices 1."
            )
        conditions = read_conditions(trainer)
        before = self.read_start()
        if before is not None:
            self._check_conditions(before["trainer"], conditions)
            self.start = before["began"]
        elif trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"decides": self.identity, "trainer": conditions, "began": self.start}
            write_text(json.dumps(content) + "\n", self.folder / START)

    def _check_conditions(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Raise if the Trainer's options differ from those with which the run began."""
        changed = [name for name, value in now.items() if before.get(name) != value]
        if changed:
            began = ", ".join(write_condition(name, before.get(name)) for name in changed)
            resumes = ", ".join(write_condition(name, now[name]) for name in changed)
            raise AlreadyExistsError(
                f"{self.folder} holds an unfinished run that began with {began} and is to go on with {resumes}; give "
                "the same Trainer options, or remove it to begin anew."
            )

    def restore_end(self, model: Autoencoder, callbacks: Sequence[Callback]) -> int:
        """Restore network and callbacks from the last state of a run that is over; return its optimizer steps."""
        assert self.state is not None
        state = torch.load(self.state, map_location="cpu", weights_only=True)
        model.load_state_dict(state["state_dict"])
        model.course = [(int(step), float(loss)) for step, loss in state["memzoo_course"]]
        for callback in (*callbacks, self.timer):
            callback.load_state_dict(state["callbacks"][callback.state_key])
        return state["global_step"]

    @property
    def seconds(self) -> float:
        """Return the training time, including the time before interruptions."""
        return round(self.timer.time_elapsed("train"), 1)

    @property
    def hardware(self) -> str:
        """Name the machine that computed the run, and the one on which it began if machine or versions differ."""
        here = _describe_installation()
        if self.start == here:
            return here["hardware"]
        versions = ", ".join(f"{name} {number}" for name, number in self.start["versions"].items())
        return f"{here['hardware']}; begun on {self.start['hardware']} with {versions}"


def _identify(entry: Entry) -> dict[str, Any]:
    """Return what identifies a run: a state is resumed only if all of these values are the same.

    Fields with their default value are left out if earlier versions did not write them, so that the states of these
    versions can be resumed.
    """
    recipe = entry.recipe.model_dump(mode="json", include=IDENTIFYING)
    if entry.recipe.targets != "same":
        recipe["targets"] = entry.recipe.targets
    if entry.recipe.before:
        recipe["before"] = [part.model_dump(mode="json") for part in entry.recipe.before]
    return {
        "architecture": entry.architecture,
        "config": entry.architecture_config().model_dump(mode="json"),
        "images": (entry.training_set or entry.examples).model_dump(mode="json"),
        "recipe": recipe,
    }


def _describe_installation() -> dict[str, Any]:
    """Describe the versions and the machine that compute here."""
    return {"versions": find_versions(), "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads"}


def find_runs(entry: Entry, folder: Path, complete: Path) -> list[UnfinishedRun]:
    """Find the run of each part of a recipe; its state is in ``folder``, or in a subfolder if there are several parts.

    A state that is older than the file ``complete`` of a complete checkpoint is removed: the run that left it is over.

    Raises:
        AlreadyExistsError: There is the state of another recipe or seed.
    """
    parts = entry.recipe.parts
    folders = [folder] if len(parts) == 1 else [folder / f"part-{number}" for number in range(1, len(parts) + 1)]
    states = [*folder.glob(f"part-*/{LAST}"), *folder.glob(LAST)]
    # one process alone removes files; Lightning takes its rank from the environment
    if complete.is_file() and getattr(rank_zero_only, "rank", 0) == 0:
        _remove_older_states(states, complete)
    if any(state.is_file() and state.parent not in folders for state in states):
        raise AlreadyExistsError(OTHER_RUN.format(folder=folder, different="parts"))
    runs = [
        UnfinishedRun(place, entry.model_copy(update={"recipe": part}), alone=len(parts) > 1)
        for place, part in zip(folders, parts, strict=True)
    ]
    for run in runs:
        run.read_start()  # raises before anything is trained
    return runs


def _remove_older_states(states: list[Path], complete: Path) -> None:
    """Remove the folders of those states that are not newer than a complete checkpoint."""
    for state in states:
        if state.is_file() and state.stat().st_mtime_ns <= complete.stat().st_mtime_ns:
            shutil.rmtree(state.parent)


def remove_states(folder: Path) -> None:
    """Remove the states of all parts, which are no longer needed when the checkpoint is complete."""
    if folder.is_dir():
        shutil.rmtree(folder)
