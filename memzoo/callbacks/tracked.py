"""Examples and starts, read from a Trainer's data without disturbing it."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x", "input", "inputs", "data")


def first_dataset(loaders: Any) -> Any:
    """The dataset of a loader, or of the first one in a list or dict of loaders; None without any."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, (list, tuple)):
        return first_dataset(loaders[0]) if loaders else None
    return loaders.dataset if isinstance(loaders, DataLoader) else getattr(loaders, "dataset", None)


def rows(dataset: Any, most: int) -> Tensor:
    """At most ``most`` inputs of a map-style dataset, evenly spread over it, as one float batch.

    The dataset may augment at random: all global generators are put back afterwards.

    Raises:
        TypeError: The dataset has no length, or its samples hold no floating-point tensor.
    """
    if dataset is None or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"a {type(dataset).__name__} has no rows to look up; pass the tracked examples themselves, examples=tensor."
        )
    count = len(dataset)
    chosen = sorted({round(i) for i in torch.linspace(0, count - 1, min(most, count)).tolist()})
    with isolate_rng():
        return torch.stack([_input_of(dataset[i]).detach().clone() for i in chosen])


def _input_of(sample: Any) -> Tensor:
    """The input in a sample: the tensor itself, the first of a tuple, or the image of a dict."""
    if isinstance(sample, Tensor):
        if sample.is_floating_point():
            return sample
        raise TypeError(
            f"samples are {sample.dtype} tensors; the tracked examples must be what the model trains on: pass examples="
        )
    if isinstance(sample, (tuple, list)) and sample:
        return _input_of(sample[0])
    if isinstance(sample, Mapping):
        key = next((key for key in IMAGE_KEYS if key in sample), None)
        if key is not None:
            return _input_of(sample[key])
        raise TypeError(f"samples are dicts with keys {sorted(map(str, sample))}, none of {IMAGE_KEYS}; pass examples=")
    raise TypeError(f"samples are {type(sample).__name__}, not tensors; pass the tracked examples, examples=tensor")


def matching_noise(examples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise with the mean and the variance of all entries of the examples."""
    noise = torch.randn((count, *examples.shape[1:]), generator=generator, dtype=examples.dtype)
    return examples.mean() + examples.std(correction=0) * noise
