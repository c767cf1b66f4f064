"""Train the parts of a recipe one after the other, or compute the weights if the theory gives them."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from memzoo.data import ResumableLoader, full_batches, mini_batches
from memzoo.errors import InvalidTypeError, UsageError
from memzoo.models import Autoencoder, PiecewiseLinear, WideReLU
from memzoo.zoo.entry import Recipe
from memzoo.zoo.recipes.deviations import list_deviations
from memzoo.zoo.recipes.unfinished_run import UnfinishedRun


@dataclass
class Outcome:
    """What the parts of a training came to, beside the weights."""

    course: list[tuple[int, float]] = field(default_factory=list)
    """Of the loss, steps counted over all parts."""
    deviations: list[str] = field(default_factory=list)
    """In what the run differed from the recipe."""
    steps_before: int = 0
    """Optimizer steps of the parts before the last."""
    writes: bool = True
    """Whether this process writes the result."""
    seconds: float = 0.0


def solve(model: Autoencoder, inputs: Tensor) -> Outcome:
    """Set the weights to those that the theory gives for these training images.

    Raises:
        InvalidTypeError: The theory gives none for this architecture.
    """
    if not isinstance(model, (WideReLU, PiecewiseLinear)):
        raise InvalidTypeError(f"the weights of a {type(model).__name__} have no closed form here; train it.")
    start = time.monotonic()
    model.fit_closed_form(inputs)
    return Outcome(seconds=float(f"{time.monotonic() - start:.3g}"))


def train_parts(
    model: Autoencoder,
    runs: Sequence[UnfinishedRun],
    callbacks: Sequence[Callback],
    options: dict[str, Any],
    inputs: Tensor,
) -> Outcome:
    """Train part after part, with the callbacks in the last one alone."""
    outcome = Outcome()
    steps = 0
    for number, run in enumerate(runs, 1):
        last = run is runs[-1]
        outcome.steps_before = steps  # at the end: of all parts but the last
        model.train_by(run.recipe.training)
        trainer, step = _train_part(model, run, callbacks if last else [], options, inputs)
        deviations = list_deviations(run.recipe, trainer, step)
        outcome.deviations += deviations if last else [f"part {number}: {deviation}" for deviation in deviations]
        outcome.course += [(steps + at, loss) for at, loss in model.course]
        outcome.writes = trainer.is_global_zero
        steps += step
    outcome.seconds = round(sum(run.seconds for run in runs), 1)
    return outcome


def _train_part(
    model: Autoencoder,
    run: UnfinishedRun,
    callbacks: Sequence[Callback],
    options: dict[str, Any],
    inputs: Tensor,
) -> tuple[Trainer, int]:
    """Train from the start, or from where the run was interrupted; return the Trainer and the optimizer steps."""
    trainer = run.make_trainer(callbacks, options)
    if "MultiProcessing" in type(trainer.strategy.launcher).__name__:
        raise UsageError(
            "this strategy trains in copies of the process, and what callbacks keep there is lost; give strategy='ddp' "
            "in place of 'ddp_spawn', 'ddp_fork' or 'ddp_notebook', or devices=1."
        )
    run.begin_or_resume(trainer)
    if trainer.precision == "64-true":
        model.double()  # before a state in float64 is loaded
    if run.is_over:
        return trainer, run.restore_end(model, callbacks)
    with warnings.catch_warnings():
        # an epoch of a recipe may have fewer batches than Lightning waits for between two rows of its log
        warnings.filterwarnings("ignore", ".*smaller than the logging interval")
        trainer.fit(model, make_batches(run.recipe, inputs), ckpt_path=run.state, weights_only=True)
    return trainer, trainer.global_step


def make_batches(recipe: Recipe, images: Tensor) -> ResumableLoader:
    """Make the batches of a recipe, each image with the next one as its target if the recipe says so."""
    targets = images.roll(-1, 0) if recipe.targets == "next" else None
    if recipe.batch_size is None:
        return full_batches(images, steps_per_epoch=recipe.steps_per_epoch, targets=targets)
    # an epoch is as many whole passes through the images as come nearest to the steps that the recipe names
    passes = max(1, round(recipe.steps_per_epoch * recipe.batch_size / len(images)))
    return mini_batches(images, recipe.batch_size, passes_per_epoch=passes, seed=recipe.seed, targets=targets)
