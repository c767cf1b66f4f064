"""Examples and starts, read from a Trainer's data without disturbing it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DistributedSampler, IterableDataset, SequentialSampler, SubsetRandomSampler

from memzoo.errors import InvalidTypeError

IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x", "input", "inputs", "data")


def first_loader(loaders: Any) -> Any:
    """The loader itself, or the first one in a list or dict of them."""
    while isinstance(loaders, (Mapping, list, tuple)) and loaders:
        loaders = next(iter(loaders.values())) if isinstance(loaders, Mapping) else loaders[0]
    return loaders


def has_rows(loaders: Any) -> bool:
    """The dataset of the (first) loader can be looked up by index."""
    dataset = getattr(first_loader(loaders), "dataset", None)
    return not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")


def rows(loaders: Any, most: int, *, batches: float = math.inf) -> Tensor:
    """At most ``most`` inputs of a loader's map-style dataset, evenly spread over those it visits, as one float batch.

    Samples that are no tensors of one shape are put together by the loader's ``collate_fn``. The dataset may augment at
    random: all global generators are put back afterwards.

    Args:
        loaders: A DataLoader, or a list or dict of them, of which the first is read.
        most: Most inputs.
        batches: Batches an epoch, where the trainer cuts it short.

    Raises:
        TypeError: The dataset has no length, or its samples hold no floating-point tensor.
    """
    loader = first_loader(loaders)
    dataset = getattr(loader, "dataset", None)
    if dataset is None or not has_rows(loader):
        raise InvalidTypeError(
            f"a {type(dataset).__name__} has no rows to look up; pass the tracked examples themselves, examples=tensor."
        )
    visited = _visited(loader, len(dataset), batches)
    places = {round(i) for i in torch.linspace(0, len(visited) - 1, min(most, len(visited))).tolist()}
    chosen = [visited[i] for i in sorted(places)]
    with isolate_rng():
        return _put_together([dataset[i] for i in chosen], getattr(loader, "collate_fn", None))


def _put_together(samples: list[Any], collate: Any) -> Tensor:
    try:
        return torch.stack([input_of(sample).detach().clone() for sample in samples])
    except (TypeError, RuntimeError) as error:  # images that only the loader makes tensors of, or pads
        try:
            return input_of(collate(samples)).detach().clone()
        except Exception:
            if isinstance(error, TypeError):
                raise
            raise InvalidTypeError(f"samples are not all of one shape ({error}); pass examples=tensor") from error


def _visited(loader: Any, count: int, batches: float) -> Sequence[int]:
    """Indices of the dataset that the loader goes through, as far as its sampler says."""
    batch_sampler, sampler = getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None)
    if isinstance(batch_sampler, list):
        head = batch_sampler[: None if batches == math.inf else int(batches)]
        return sorted({int(i) for batch in head for i in batch})
    # with several processes, Lightning puts the user's sampler into the place of a distributed sampler's dataset
    sampler = getattr(getattr(sampler, "dataset", None), "_sampler", sampler)
    if isinstance(sampler, SubsetRandomSampler):
        return sorted(int(i) for i in sampler.indices)
    if batches != math.inf and loader.batch_size:
        if isinstance(sampler, SequentialSampler):
            return range(min(count, int(batches) * loader.batch_size))
        if isinstance(sampler, DistributedSampler) and not sampler.shuffle:  # the processes take turns
            return range(min(count, int(batches) * loader.batch_size * sampler.num_replicas))
    return range(count)


def input_of(sample: Any) -> Tensor:
    """The input in a sample or a batch: the tensor itself, the first of a tuple, or the image of a dict.

    Raises:
        TypeError: There is no floating-point tensor in its place.
    """
    if isinstance(sample, Tensor):
        if sample.is_floating_point():
            return sample
        raise InvalidTypeError(
            f"samples are {sample.dtype} tensors; the tracked examples must be what the model trains on: pass examples="
        )
    if isinstance(sample, (tuple, list)) and sample:
        return input_of(sample[0])
    if isinstance(sample, Mapping):
        key = next((key for key in IMAGE_KEYS if key in sample), None)
        if key is not None:
            return input_of(sample[key])
        raise InvalidTypeError(
            f"samples are dicts with keys {sorted(map(str, sample))}, none of {IMAGE_KEYS}; pass examples="
        )
    raise InvalidTypeError(
        f"samples are {type(sample).__name__}, not tensors; pass the tracked examples, examples=tensor"
    )


def matching_noise(examples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise with the mean and the variance of all entries of the examples."""
    noise = torch.randn((count, *examples.shape[1:]), generator=generator, dtype=examples.dtype)
    return examples.mean() + examples.std(correction=0) * noise
