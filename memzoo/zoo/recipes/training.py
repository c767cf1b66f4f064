"""Train a checkpoint from the recipe in its registry entry."""

import json
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from safetensors.torch import save_file
from torch import Tensor

from memzoo.callbacks import AttractorCallback, KeepSteps
from memzoo.data import ResumableLoader, Selection, full_batches, mini_batches
from memzoo.errors import CheckpointMissingError, InvalidTypeError, UsageError
from memzoo.models import Autoencoder, Ensemble, PiecewiseLinear, WideReLU
from memzoo.zoo.cards import ALONG_A_CYCLE, TIMES, History, card, draw_pictures, history_of, write_history
from memzoo.zoo.entry import CONFIG, EXAMPLES, HISTORY, WEIGHTS, Entry, Recipe, Step, step_file
from memzoo.zoo.loading import create, entry_in, images_of, reached, take_fingerprint
from memzoo.zoo.recipes.unfinished import Unfinished, deviations, finish, runs_of
from memzoo.zoo.registry import (
    CARD,
    ENTRY,
    PICTURES,
    SavedConfig,
    check_writable,
    describe,
    entry_yaml,
    require_entry,
    with_entry,
    write_text,
    written_aside,
)
from memzoo.zoo.verification import Row, measure_facts, versions_here

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

    An interrupted run is gone on with when it is started again: its state lies in ``out/ID.unfinished`` until the
    folder is complete.

    Args:
        name: Id or alias in the registry.
        out: Folder that receives a folder named after the id: weights, configuration, images, card, ``entry.yaml``.
        seed: Of the initial values; the recipe's when left out.
        data_root: Where the dataset lies. When left out, the images that travel with the installed checkpoint are used,
            else the dataset is downloaded to ``data``. Their hashes are checked in any case.
        overwrite: Replace an existing folder.
        trainer_options: Passed on to :class:`lightning.pytorch.Trainer`: devices, strategy, precision, loggers. Where
            they make another run than that of the recipe, ``recipe.hardware`` of the new entry says so. Callbacks and
            loggers take part in each part of a training that has several.

    Returns:
        The folder, and the facts of the entry as measured on the new weights; None in place of the facts in the other
        processes of a distributed run.

    Raises:
        FileExistsError: The folder is there and ``overwrite`` is off, or the state of an unfinished run is of another
            recipe, seed, precision or number of processes; nothing was trained.
        ValueError: The strategy trains in copies of this process.
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
    """As :func:`train`; also says in what the run differed from the recipe."""
    entry = require_entry(name)
    folder = Path(out) / entry.id
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists; give another --out, or --overwrite to replace it.")
    seed = entry.recipe.seed if seed is None else seed
    images = images_of(entry, data_root)
    model = create(entry.id, seed=seed)
    recipe = entry.recipe.model_copy(update={"seed": seed})
    entry = entry.model_copy(update={"recipe": recipe})
    inputs, starts = images.trained_on(entry), entry.probes.inputs(images.probes.images)
    keeper, watch = KeepSteps(recipe.keep), AttractorCallback(starts=starts[:STARTS])
    check_writable(folder.parent)
    cut = sorted({"max_epochs", "max_steps", "max_time"} & trainer_options.keys())
    if recipe.before and cut:
        raise UsageError(
            f"{' and '.join(cut)} would hold for each of the {len(recipe.parts)} parts of this training; leave it out. "
            "A run that is interrupted goes on when it is started again."
        )
    unfinished = folder.parent / f"{entry.id}.unfinished"
    runs = runs_of(entry, unfinished, folder / ENTRY)
    fixed_points = recipe.targets == "same" and not isinstance(model, Ensemble)
    callbacks = [keeper, watch] if fixed_points else [keeper]
    if recipe.closed_form:
        begun = time.monotonic()
        solve(model, inputs)
        seconds, fitted = float(f"{time.monotonic() - begun:.3g}"), Fitted()
    else:
        fitted = _fit_parts(model, runs, callbacks, trainer_options, inputs)
        if not fitted.writes:
            return Trained(folder, None)
        seconds = round(sum(run.seconds for run in runs), 1)

    model = model.cpu().float().eval()
    kept = {step: rounded(state, recipe) for step, state in keeper.kept.items()}
    model.load_state_dict(rounded(model.state_dict(), recipe))  # what is measured is what is stored
    if images.whole is not None:
        images, entry = reached(model, images, entry)
    model.examples, model.probes = entry.examples.inputs(images.examples.images), starts
    missed = sorted(set(recipe.keep) - kept.keys())
    if missed:
        warnings.warn(f"the run ended before steps {missed}, which were to be kept: they are left out.", stacklevel=3)

    def at(step: int | None) -> Autoencoder:
        """The network after a step, as it will load."""
        if step is None:
            return model
        early = create(entry.id).eval()
        early.load_state_dict(kept[step])
        early.examples, early.probes = model.examples, starts
        return early

    rows = measure_facts(
        at, [fact for fact in entry.facts if fact.step not in missed], None if images.whole is None else inputs
    )
    steps = {
        step: Step(epoch=keeper.epochs[step], fingerprint=take_fingerprint(at(step), model.config.shape))
        for step in sorted(kept)
    }
    machines = list(dict.fromkeys(run.hardware for run in runs))
    done = entry.model_copy(
        update={
            "facts": [row.fact.model_copy(update={"ours": _recorded(row.measured)}) for row in rows],
            "fingerprint": take_fingerprint(model, model.config.shape),
            "steps": steps,
            "recipe": recipe.model_copy(
                update={
                    "versions": versions_of(recipe),
                    "hardware": "; ".join([*machines, *([", ".join(fitted.differing)] if fitted.differing else [])]),
                    "wall_time_s": seconds,
                }
            ),
            "hub": None,
        }
    )
    measured = [{**row, "step": row["step"] + fitted.before} for row in watch.history]
    history = history_of(fitted.course, measured)
    write_folder(folder, done, model, images.examples, images.probes, history, kept)
    entry_in(folder / ENTRY)  # it can be read, or the state is kept
    finish(unfinished)
    return Trained(folder, rows, tuple(fitted.differing))


def versions_of(recipe: Recipe) -> dict[str, str]:
    """What the numbers of a training depend on."""
    timm = any(part.training.optimizer == "muon" for part in recipe.parts)
    return versions_here() | ({"timm": version("timm")} if timm else {})


def rounded(state: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Weights in the type that the recipe stores.

    Raises:
        OverflowError: They do not fit into it.
    """
    stored = {"float32": torch.float32, "float16": torch.float16}[recipe.stored]
    small = {key: value.to(stored) if value.is_floating_point() else value for key, value in state.items()}
    lost = [key for key, value in state.items() if value.isfinite().all() and not small[key].isfinite().all()]
    if lost:
        raise OverflowError(f"{', '.join(lost)} hold values beyond those of {recipe.stored}; store them in more bits.")
    return small


def _recorded(value: float) -> float | None:
    """Rounded; None for what is no number."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


@dataclass
class Fitted:
    """What the parts of a training came to."""

    course: list[tuple[int, float]] = field(default_factory=list)
    """Of the loss, steps counted over all parts."""
    differing: list[str] = field(default_factory=list)
    """In what the run differed from the recipe."""
    before: int = 0
    """Optimizer steps of the parts before the last."""
    writes: bool = True
    """Whether this process writes the result."""


def _fit_parts(
    model: Autoencoder, runs: Sequence[Unfinished], callbacks: Sequence[Callback], options: dict[str, Any], x: Tensor
) -> Fitted:
    """Train part after part, the callbacks in the last one alone."""
    fitted, done = Fitted(), 0
    for number, run in enumerate(runs, 1):
        last = run is runs[-1]
        fitted.before = done
        model.train_by(run.recipe.training)
        fitted.writes, found, step = _fit(model, run, callbacks if last else [], options, x)
        fitted.differing += found if last else [f"part {number}: {difference}" for difference in found]
        fitted.course += [(done + at, loss) for at, loss in model.course]
        done += step
    return fitted


def _fit(
    model: Autoencoder, run: Unfinished, callbacks: Sequence[Callback], options: dict[str, Any], inputs: Tensor
) -> tuple[bool, list[str], int]:
    """Train from the start, or from where the run was interrupted.

    Returns:
        Whether this process writes the result, in what the run differed from the recipe, and its optimizer steps.
    """
    trainer = Trainer(**run.options(callbacks, options))
    if "MultiProcessing" in type(trainer.strategy.launcher).__name__:
        raise UsageError(
            "this strategy trains in copies of the process, and what callbacks keep there is lost; give strategy='ddp' "
            "in place of 'ddp_spawn', 'ddp_fork' or 'ddp_notebook', or devices=1."
        )
    run.begin(trainer)
    if trainer.precision == "64-true":
        model.double()  # before a state in float64 is loaded
    if run.is_over:
        step = run.take_over(model, callbacks)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*smaller than the logging interval")
            trainer.fit(model, batches(run.recipe, inputs), ckpt_path=run.state, weights_only=True)
        step = trainer.global_step
    return trainer.is_global_zero, deviations(run.recipe, trainer, step), step


def solve(model: Autoencoder, inputs: Tensor) -> None:
    """Set the weights to those that the theory gives for these training images.

    Raises:
        TypeError: The theory gives none for this architecture.
    """
    if not isinstance(model, (WideReLU, PiecewiseLinear)):
        raise InvalidTypeError(f"the weights of a {type(model).__name__} have no closed form here; train it.")
    model.fit_closed_form(inputs)


def batches(recipe: Recipe, images: Tensor) -> ResumableLoader:
    """The training images in the batches of the recipe, with the next one as each one's target where it says so."""
    targets = images.roll(-1, 0) if recipe.targets == "next" else None
    if recipe.batch_size is None:
        return full_batches(images, steps_per_epoch=recipe.steps_per_epoch, targets=targets)
    passes = max(1, round(recipe.steps_per_epoch * recipe.batch_size / len(images)))
    return mini_batches(images, recipe.batch_size, passes_per_epoch=passes, seed=recipe.seed, targets=targets)


def write_folder(
    folder: Path,
    entry: Entry,
    model: Autoencoder,
    examples: Selection,
    probes: Selection,
    history: History,
    kept: dict[int, dict[str, Tensor]],
) -> None:
    """All files of a checkpoint at once, or none."""
    assert entry.fingerprint is not None
    weights = {
        WEIGHTS: rounded(model.state_dict(), entry.recipe),
        **{step_file(step): kept[step] for step in sorted(kept)},
    }
    with written_aside(folder) as aside:
        for name, tensors in weights.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, aside / name)
        save_file({"examples": examples.images.contiguous(), "probes": probes.images.contiguous()}, aside / EXAMPLES)
        saved = SavedConfig(
            id=entry.id,
            architecture=entry.architecture,
            config=entry.config,
            training=entry.recipe.training,
            fingerprint=entry.fingerprint,
            steps=entry.steps,
        )
        content = saved.model_dump(mode="json", exclude=set() if entry.steps else {"steps"})
        (aside / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        write_history(history, aside / HISTORY)
        hashed = [*weights, CONFIG, EXAMPLES, HISTORY]
        entry = entry.model_copy(update={"files": {name: describe(aside / name) for name in hashed}})
        try:
            draw_pictures(model, history, aside, ALONG_A_CYCLE if entry.recipe.targets == "next" else TIMES)
        except Exception as error:
            warnings.warn(f"the pictures of {entry.id} could not be drawn, the rest is complete: {error}", stacklevel=2)
        (aside / CARD).write_text(card(entry, aside), encoding="utf-8")
        (aside / ENTRY).write_text(entry_yaml(entry), encoding="utf-8")


def record(folder: Path, root: Path) -> None:
    """Put a trained folder into a source tree, or beside a registry file of one's own.

    Args:
        folder: As :func:`train` writes it.
        root: A registry file, or the folder that holds ``checkpoints.yaml``: the entry is written over the one of the
            same id, the files go to ``checkpoints/ID/`` beside it.
    """
    path = root / "checkpoints.yaml" if root.is_dir() else root
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; give the root of a memzoo source tree, or a registry file.")
    if not (folder / ENTRY).is_file():
        raise CheckpointMissingError(f"{folder / ENTRY} is missing; give a folder that `memzoo train` wrote.")
    entry = entry_in(folder / ENTRY)
    text = with_entry(entry, path)
    with written_aside(path.parent / "checkpoints" / entry.id) as aside:
        for name in (*entry.files, CARD, *PICTURES):
            if (folder / name).is_file():
                (aside / name).write_bytes((folder / name).read_bytes())
    write_text(text, path)
