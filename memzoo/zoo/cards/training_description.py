"""Describe the training of a checkpoint in words, for its card and for the report of the figures."""

from typing import Any

from memzoo.zoo.entry import Entry, Recipe


def describe_training(entry: Entry) -> str:
    """Describe batches and settings of a training, of all its parts in order."""
    first, *others = entry.recipe.parts
    settings = list_settings(first.training.model_dump())
    for part in others:
        settings += f"; then {_describe_batch_size(part)}: {list_settings(part.training.model_dump())}"
    return f"{_describe_batches(entry)} on the squared error:\n{settings}"


def list_settings(values: dict[str, Any]) -> str:
    """List ``name = value`` for each setting."""
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _describe_batches(entry: Entry) -> str:
    """Say how the training begins: in which batches, of which images, with which targets."""
    if entry.recipe.closed_form:
        return "Weights in closed form, where this training would end"
    batches = _describe_batch_size(entry.recipe.parts[0]).capitalize()
    if entry.recipe.targets == "next":
        return f"{batches}, from each image to the next and from the last to the first,"
    if entry.training_set is None:
        return batches
    count = len(entry.training_set.positions())
    return f"{batches} of all {count} images, of which only those travel that iteration reaches,"


def _describe_batch_size(recipe: Recipe) -> str:
    """Name the kind of batches of one part."""
    if recipe.batch_size is None:
        return "full-batch training"
    return f"training in shuffled batches of {recipe.batch_size}"
