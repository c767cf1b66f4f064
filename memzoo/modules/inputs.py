"""Read examples and starts from a Trainer's data without disturbing these."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, IterableDataset, SequentialSampler, SubsetRandomSampler

from memzoo._generators import keep_generators_unchanged
from memzoo.errors import InvalidTypeError

IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x", "input", "inputs", "data")
"""Keys under which a sample that is a dict is looked up, in this order."""


def find_first_loader(loaders: Any) -> Any:
    """Return the loader itself, or the first one in nested lists or dicts of loaders."""
    while isinstance(loaders, (Mapping, list, tuple)) and loaders:
        loaders = next(iter(loaders.values())) if isinstance(loaders, Mapping) else loaders[0]
    return loaders


def has_rows(loaders: Any) -> bool:
    """Tell whether the dataset of the first loader can be looked up by index."""
    dataset = getattr(find_first_loader(loaders), "dataset", None)
    return not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")


def read_rows(loaders: Any, most: int, *, batches: float = math.inf) -> Tensor:
    """Read at most ``most`` inputs of a loader's map-style dataset, evenly spread over those that the loader visits.

    Samples that are no tensors of one shape are put together by the loader's ``collate_fn``. The dataset may augment at
    random: all global generators are put back afterwards.

    Args:
        loaders: A DataLoader, or a list or dict of them, of which the first is read.
        most: Largest number of inputs.
        batches: Number of batches in an epoch, where the Trainer cuts the epoch short.

    Returns:
        The inputs as one floating-point batch.

    Raises:
        TypeError: The dataset has no length, or its samples hold no floating-point tensor.
    """
    loader = find_first_loader(loaders)
    dataset = getattr(loader, "dataset", None)
    if dataset is None or not has_rows(loader):
        raise InvalidTypeError(
            f"a {type(dataset).__name__} has no rows to look up; pass the tracked examples themselves, examples=tensor."
        )
    visited = _list_visited_indices(loader, len(dataset), batches)
    # a set: of few rows, two places may round to one
    places = {round(i) for i in torch.linspace(0, len(visited) - 1, min(most, len(visited))).tolist()}
    chosen = [visited[i] for i in sorted(places)]
    with keep_generators_unchanged():  # the dataset may augment
        samples = [dataset[i] for i in chosen]
        return _stack_inputs(samples, getattr(loader, "collate_fn", None))


def _stack_inputs(samples: list[Any], collate: Any) -> Tensor:
    """Stack the inputs of samples, by the loader's ``collate_fn`` if they are no tensors or differ in shape."""
    try:
        return torch.stack([input_of(sample).detach().clone() for sample in samples])
    except (TypeError, RuntimeError) as error:
        try:
            return input_of(collate(samples)).detach().clone()
        except Exception:
            if isinstance(error, TypeError):
                raise
            raise InvalidTypeError(f"samples are not all of one shape ({error}); pass examples=tensor") from error


def _list_visited_indices(loader: Any, count: int, batches: float) -> Sequence[int]:
    """Return the indices of the dataset that the loader visits, as far as its sampler tells them."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    if isinstance(batch_sampler, list):
        visited = batch_sampler[: None if batches == math.inf else int(batches)]
        return sorted({int(i) for batch in visited for i in batch})
    sampler = getattr(loader, "sampler", None)
    # with several processes, Lightning puts the user's sampler into the place of a distributed sampler's dataset
    sampler = getattr(getattr(sampler, "dataset", None), "_sampler", sampler)
    if isinstance(sampler, SubsetRandomSampler):
        return sorted(int(i) for i in sampler.indices)
    processes = _count_processes_in_order(sampler)
    if processes is None or batches == math.inf or not loader.batch_size:
        return range(count)
    return range(min(count, int(batches) * loader.batch_size * processes))


def _count_processes_in_order(sampler: Any) -> int | None:
    """Return how many processes share the dataset in its own order, None if the order is another one."""
    if isinstance(sampler, SequentialSampler):
        return 1
    if isinstance(sampler, DistributedSampler) and not sampler.shuffle:  # the processes take turns
        return sampler.num_replicas
    return None


def input_of(sample: Any) -> Tensor:
    """Return the input in a sample or a batch: the tensor itself, the first entry of a tuple, or the image of a dict.

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
    """Draw Gaussian noise with the mean and the variance of all entries of the examples."""
    noise = torch.randn((count, *examples.shape[1:]), generator=generator, dtype=examples.dtype)
    return examples.mean() + examples.std(correction=0) * noise
