"""Tell in what a run differs from its recipe: the options of the Trainer that change its steps, and an early end."""

from typing import Any

from lightning.pytorch import Trainer

from memzoo.runs import stopping_reason
from memzoo.zoo.entry import Recipe


def read_conditions(trainer: Trainer) -> dict[str, Any]:
    """Read the options of the Trainer that change the steps of a run, as they are in effect."""
    return {
        "precision": trainer.precision,
        "processes": trainer.world_size,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "limit_train_batches": trainer.limit_train_batches,
    }


def list_deviations(recipe: Recipe, trainer: Trainer, step: int) -> list[str]:
    """List in what a run that ended at this optimizer step differed from its recipe."""
    of_the_recipe = {
        "precision": recipe.precision,
        "processes": 1,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
        "limit_train_batches": 1.0,
    }
    found = [
        write_condition(name, value) for name, value in read_conditions(trainer).items() if value != of_the_recipe[name]
    ]
    if step != recipe.training.steps and not _ended_by_rule(recipe, trainer):
        found.append(f"stopped at step {step}")
    return found


def _ended_by_rule(recipe: Recipe, trainer: Trainer) -> bool:
    """Tell whether a stopping rule of the recipe may have ended a run, and no limit of the Trainer."""
    training = recipe.training
    has_rule = training.stop_loss is not None or training.stop_recovered is not None
    limits_of_the_recipe = (trainer.max_steps, trainer.max_epochs) == (training.steps, -1)
    return has_rule and limits_of_the_recipe and stopping_reason(trainer) != "max_time reached"


def write_condition(name: str, value: Any) -> str:
    """Write an option and its value, for a message."""
    return f"{value} processes" if name == "processes" else f"{name} {value}"
