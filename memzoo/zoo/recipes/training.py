"""Train a checkpoint from the recipe in its registry entry.

A training is a sequence of steps: prepare images and network, begin or resume the run, round the weights to what is
stored, measure the facts, and write the folder. The state of the run is kept until the folder can be read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor

from memzoo._user_warning import warn_user
from memzoo.callbacks import AttractorCallback, KeepSteps
from memzoo.errors import AlreadyExistsError, UsageError, ValueRangeError
from memzoo.models import Autoencoder, Ensemble
from memzoo.zoo.cards import History, make_history
from memzoo.zoo.entry import Entry, Recipe, Step
from memzoo.zoo.loading import EntryImages, create, find_images, read_entry, select_reached, take_fingerprint
from memzoo.zoo.recipes.folder import write_folder
from memzoo.zoo.recipes.part_training import Outcome, solve, train_parts
from memzoo.zoo.recipes.unfinished_run import UnfinishedRun, find_runs, remove_states
from memzoo.zoo.registry import ENTRY, check_writable, require_entry
from memzoo.zoo.verification import Row, find_versions, measure_facts

DIGITS = 9  # of recorded values
STARTS = 200  # of those that travel, while training


@dataclass(frozen=True)
class Trained:
    """What a run of a recipe came to."""

    folder: Path
    rows: tuple[Row, ...] | None
    """The facts as measured on the new weights; None in the processes of a distributed run that write nothing."""
    deviations: tuple[str, ...] = ()
    """In what the run differed from its recipe."""


def train(
    name: str,
    out: str | Path = "runs",
    *,
    seed: int | None = None,
    data_root: str | Path | None = None,
    overwrite: bool = False,
    **trainer_options: Any,
) -> tuple[Path, tuple[Row, ...] | None]:
    """Train the network of an entry and write its folder, complete and loadable by ``local-dir:``.

    An interrupted run is resumed when it is started again: its state lies in ``out/ID.unfinished`` until the folder is
    complete.

    Args:
        name: Id or alias in the registry.
        out: Folder that receives a folder named after the id: weights, configuration, images, card, ``entry.yaml``.
        seed: Seed of the initial values; the recipe's when left out.
        data_root: Folder of the dataset. When left out, the images of the installed checkpoint are used; if there are
            none, the dataset is downloaded to ``data``. The hashes of the images are always checked.
        overwrite: Replace an existing folder.
        trainer_options: Passed on to :class:`lightning.pytorch.Trainer`: devices, strategy, precision, loggers. Where
            they make another run than that of the recipe, ``recipe.hardware`` of the new entry says so. Callbacks and
            loggers take part in each part of a training that has several.

    Returns:
        The folder, and the facts of the entry as measured on the new weights; None in place of the facts in the other
        processes of a distributed run.

    Raises:
        AlreadyExistsError: The folder is there and ``overwrite`` is off, or the state of an unfinished run is of
            another recipe, seed, precision or number of processes; nothing was trained.
        UsageError: The strategy trains in copies of this process, or a limit of the Trainer is given for several parts.
        ValueRangeError: The weights do not fit into the type in which the recipe stores them.
    """
    done = train_recipe(name, out, seed=seed, data_root=data_root, overwrite=overwrite, **trainer_options)
    return done.folder, done.rows


def train_recipe(
    name: str,
    out: str | Path,
    *,
    seed: int | None = None,
    data_root: str | Path | None = None,
    overwrite: bool = False,
    **trainer_options: Any,
) -> Trained:
    """Train as :func:`train` does, and tell as well in what the run differed from the recipe."""
    entry = _require_entry_with_seed(name, seed)
    folder = Path(out) / entry.id
    if folder.exists() and not overwrite:
        raise AlreadyExistsError(f"{folder} exists; give another --out, or --overwrite to replace it.")
    job = _prepare(entry, data_root)
    check_writable(folder.parent)
    _refuse_limits(entry.recipe, trainer_options)
    states = folder.parent / f"{entry.id}.unfinished"
    runs = find_runs(entry, states, folder / ENTRY)

    if entry.recipe.closed_form:
        outcome = solve(job.model, job.inputs)
    else:
        outcome = train_parts(job.model, runs, job.callbacks, trainer_options, job.inputs)
    if not outcome.writes:  # another process of a distributed run does
        return Trained(folder, None)

    weights = _round_as_stored(job)
    _choose_travelling_images(job)
    networks = _rebuild_networks(job, weights)
    rows = _measure(job, networks)
    done = _complete_entry(job, outcome, runs, rows, networks)
    history = _collect_history(job, outcome)
    write_folder(folder, done, job.model, job.images.examples, job.images.probes, history, weights)
    read_entry(folder / ENTRY)  # raises if it cannot be read; then the state is kept
    remove_states(states)
    return Trained(folder, rows, tuple(outcome.deviations))


# Prepare --------------------------------------------------------------------------------------------------------------


@dataclass
class Job:
    """A training under way: the entry with the seed in use, its images, the network, and what watches it."""

    entry: Entry
    images: EntryImages
    model: Autoencoder
    inputs: Tensor
    """All training images, as the network is given them."""
    starts: Tensor
    keeper: KeepSteps
    watch: AttractorCallback

    @property
    def callbacks(self) -> Sequence[Callback]:
        """Return the callbacks of the run; attractors are measured if examples are to be fixed points."""
        if self.entry.recipe.targets == "same" and not isinstance(self.model, Ensemble):
            return [self.keeper, self.watch]
        return [self.keeper]


def _require_entry_with_seed(name: str, seed: int | None) -> Entry:
    """Return the entry of a checkpoint with the seed in use in its recipe."""
    entry = require_entry(name)
    if seed is None:
        return entry
    return entry.model_copy(update={"recipe": entry.recipe.model_copy(update={"seed": seed})})


def _prepare(entry: Entry, data_root: str | Path | None) -> Job:
    """Find the images of an entry, and initialise its network."""
    images = find_images(entry, data_root)
    starts = entry.probes.inputs(images.probes.images)
    return Job(
        entry,
        images,
        model=create(entry.id, seed=entry.recipe.seed),
        inputs=images.training_inputs(entry),
        starts=starts,
        keeper=KeepSteps(entry.recipe.keep),
        watch=AttractorCallback(starts=starts[:STARTS]),
    )


def _refuse_limits(recipe: Recipe, trainer_options: dict[str, Any]) -> None:
    """Raise if a limit of the Trainer would hold for each part of a training of several."""
    limits = sorted({"max_epochs", "max_steps", "max_time"} & trainer_options.keys())
    if recipe.before and limits:
        raise UsageError(
            f"{' and '.join(limits)} would hold for each of the {len(recipe.parts)} parts of this training; leave it "
            "out. A run that is interrupted goes on when it is started again."
        )


# Store ----------------------------------------------------------------------------------------------------------------


def _round_as_stored(job: Job) -> dict[int | None, dict[str, Tensor]]:
    """Round the weights after each step that is kept, and the final ones (None), to what is stored."""
    recipe = job.entry.recipe
    kept = job.keeper.kept
    missed = sorted(set(recipe.keep) - kept.keys())
    if missed:
        warn_user(f"the run ended before steps {missed}, which were to be kept: they are left out.")
    # a run in float64, too, is stored and measured in float32 or less
    final = job.model.cpu().float().eval().state_dict()
    states = {None: final, **{step: kept[step] for step in sorted(kept)}}
    weights = {step: round_weights(state, recipe) for step, state in states.items()}
    job.model.load_state_dict(weights[None])  # what is measured is what is stored
    return weights


def round_weights(state: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Convert weights to the type in which the recipe stores them.

    Raises:
        ValueRangeError: They do not fit into it.
    """
    dtype = {"float32": torch.float32, "float16": torch.float16}[recipe.stored]
    small = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    lost = [key for key, value in state.items() if value.isfinite().all() and not small[key].isfinite().all()]
    if lost:
        raise ValueRangeError(
            f"{', '.join(lost)} hold values beyond those of {recipe.stored}; store them in more bits, by "
            "`stored: float32` in the recipe."
        )
    return small


def _choose_travelling_images(job: Job) -> None:
    """Give the network its examples: of a large training set, only those that iteration reaches."""
    if job.images.whole is not None:
        job.images, job.entry = select_reached(job.model, job.images, job.entry)
    job.model.examples = job.entry.examples.inputs(job.images.examples.images)
    job.model.probes = job.starts


def _rebuild_networks(job: Job, weights: dict[int | None, dict[str, Tensor]]) -> dict[int | None, Autoencoder]:
    """Rebuild the network after each step whose weights are kept, as it will load; None stands for the last step."""
    networks: dict[int | None, Autoencoder] = {None: job.model}
    for step in weights.keys() - {None}:
        networks[step] = create(job.entry.id).eval()
        networks[step].load_state_dict(weights[step])
        networks[step].examples = job.model.examples
        networks[step].probes = job.starts
    return networks


# Measure and describe -------------------------------------------------------------------------------------------------


def _measure(job: Job, networks: dict[int | None, Autoencoder]) -> tuple[Row, ...]:
    """Measure the facts of the entry, but for those of steps that the run did not reach."""
    missed = set(job.entry.recipe.keep) - networks.keys()
    facts = [fact for fact in job.entry.facts if fact.step not in missed]
    # The recorded value of a fact that varies says nothing about other weights.
    facts = [fact.model_copy(update={"ours": None}) if fact.varies else fact for fact in facts]
    # the examples are all training images, unless only a part of these travels
    whole = None if job.images.whole is None else job.inputs
    return measure_facts(networks.__getitem__, facts, whole)


def _complete_entry(
    job: Job,
    outcome: Outcome,
    runs: Sequence[UnfinishedRun],
    rows: Sequence[Row],
    networks: dict[int | None, Autoencoder],
) -> Entry:
    """Complete the entry with what was measured, and with how the weights came about."""
    fingerprints = {step: take_fingerprint(network, network.config.shape) for step, network in networks.items()}
    steps = {step: Step(epoch=epoch, fingerprint=fingerprints[step]) for step, epoch in job.keeper.epochs.items()}
    hardware = list(dict.fromkeys(run.hardware for run in runs))  # each machine once, in order
    if outcome.deviations:
        hardware.append(", ".join(outcome.deviations))
    origin = {
        "versions": _find_training_versions(job.entry.recipe),
        "hardware": "; ".join(hardware),
        "wall_time_s": outcome.seconds,
    }
    return job.entry.model_copy(
        update={
            "facts": [row.fact.model_copy(update={"ours": _round_value(row.measured)}) for row in rows],
            "fingerprint": fingerprints[None],
            "steps": dict(sorted(steps.items())),
            "recipe": job.entry.recipe.model_copy(update=origin),
            "hub": None,  # what is published are other weights
        }
    )


def _round_value(value: float) -> float | None:
    """Round a measured value; None for what is no number, which an entry cannot hold."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _find_training_versions(recipe: Recipe) -> dict[str, str]:
    """Find the installed versions of what the numbers of a training depend on."""
    uses_timm = any(part.training.optimizer == "muon" for part in recipe.parts)
    return find_versions() | ({"timm": version("timm")} if uses_timm else {})


def _collect_history(job: Job, outcome: Outcome) -> History:
    """Collect the course of the loss and the measurements, with steps counted over all parts."""
    measured = [{**row, "step": row["step"] + outcome.steps_before} for row in job.watch.history]
    return make_history(outcome.course, measured)
