"""Read the inputs of a module out of the batches that it is given, and draw points of their kind."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from memzoo.dynamics import nearest
from memzoo.errors import InvalidTypeError

IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x", "input", "inputs", "data")
"""Names under which the input is looked up in a batch whose parts have names, in this order."""

TRIES = 8
"""Draws in the place of a point that equals an example."""


def batch_of_first(batch: Any, loaders: Any) -> Any:
    """Return the part of a batch that comes from the first of several loaders in nested lists or dicts."""
    while isinstance(loaders, (Mapping, list, tuple)) and loaders:
        key = next(iter(loaders)) if isinstance(loaders, Mapping) else 0
        loaders = loaders[key]
        batch = batch[key]
    return batch


def count_loaders(loaders: Any) -> int:
    """Count the loaders in nested lists or dicts of them."""
    if isinstance(loaders, (Mapping, list, tuple)):
        return sum(map(count_loaders, loaders.values() if isinstance(loaders, Mapping) else loaders))
    return 1


def input_of(batch: Any) -> Tensor:
    """Return the input in a batch: the tensor itself, the first entry of a tuple, or the image among named parts.

    Named parts are those of a dict, of a dataclass and of a named tuple.

    Raises:
        TypeError: There is no floating-point tensor in its place.
    """
    if isinstance(batch, Tensor):
        if batch.is_floating_point() and batch.layout == torch.strided and batch.ndim:
            return batch
        raise InvalidTypeError(
            f"samples are {batch.dtype} tensors; the tracked examples must be what the model trains on: pass examples="
        )
    named = _list_named_parts(batch)
    key = next((key for key in IMAGE_KEYS if key in named), None)
    if key is not None:
        return input_of(named[key])
    if isinstance(batch, (tuple, list)) and batch:
        return input_of(batch[0])
    if named:
        raise InvalidTypeError(
            f"samples have parts named {sorted(map(str, named))}, none of {IMAGE_KEYS}; pass examples="
        )
    raise InvalidTypeError(
        f"samples are {type(batch).__name__}, not tensors; pass the tracked examples, examples=tensor"
    )


def _list_named_parts(batch: Any) -> Mapping[Any, Any]:
    """Return the parts of a batch by their names; none if they have no names."""
    if isinstance(batch, Mapping):
        return batch
    if is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in fields(batch)}
    return getattr(batch, "_asdict", dict)()


def draw_in_domain(examples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    r"""Draw points of the data's own domain: each coordinate is that of an example, drawn for each point anew.

    Counts stay counts, and values in [0, 1] stay there. A point that equals an example is replaced by one that is
    uniform between the smallest and the largest value of each coordinate, a whole number where all values are.

    Args:
        examples: Points (n, \*shape).
        count: Number of points.
        generator: Generator of the draws.

    Returns:
        Points (count, \*shape); fewer where the domain has hardly any points beside the examples.
    """
    flat = examples.flatten(1)
    which = torch.randint(len(flat), (count, flat.shape[1]), generator=generator)
    points = flat.gather(0, which)
    # The range of each coordinate; where it holds no other points than the examples, that of all coordinates together.
    for values in [flat] * TRIES + [flat.reshape(-1, 1)] * TRIES:
        taken = nearest(points, flat).distance == 0
        if not taken.any():
            break
        points[taken] = _draw_between(values, points[taken], generator)
    points = points[nearest(points, flat).distance > 0]
    if not len(points):  # all values are one and the same, or 0 and 1 alone
        points = flat[which[:, 0]] + torch.randn((count, flat.shape[1]), generator=generator, dtype=flat.dtype)
    return points.reshape(-1, *examples.shape[1:])


def matching_noise(examples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw Gaussian noise with the mean and the variance of all entries of the examples, and no more of these."""
    noise = torch.randn((count, *examples.shape[1:]), generator=generator, dtype=examples.dtype)
    return examples.mean() + examples.std(correction=0) * noise


def _draw_between(values: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw points uniformly between the smallest and the largest values, whole numbers where all values are."""
    low = values.amin(0)
    width = values.amax(0) - low
    drawn = torch.rand(like.shape, generator=generator, dtype=like.dtype)
    if (values == values.round()).all():
        return low + (drawn * (width + 1)).floor().minimum(width)
    return low + drawn * width
