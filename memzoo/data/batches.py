"""Training sets as DataLoaders that a resumed run goes on with where it stood, and that several processes share."""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, TensorDataset

from memzoo.errors import InvalidArgumentError


class Pair(NamedTuple):
    """A batch, or one sample, whose target is not the input itself: what a network is to make of each image."""

    input: Tensor
    target: Tensor


@final
class Pairs(Dataset[Pair]):
    """Images with a target each."""

    images: Tensor
    targets: Tensor

    def __init__(self, images: Float[Tensor, "n *shape"], targets: Float[Tensor, "n *shape"]) -> None:
        if images.shape != targets.shape:
            raise InvalidArgumentError(
                f"images of shape {tuple(images.shape)} need a target each, of their own shape; got "
                f"{tuple(targets.shape)}."
            )
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pair:
        return Pair(self.images[index], self.targets[index])


class InOrder(SequentialSampler):
    """Every image in order, in every epoch; knows which epoch it is."""

    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch


class Shuffled(RandomSampler):
    """Every image once, in an order that follows from the seed and the epoch alone, so that it can be had again."""

    epoch: int = 0

    def __init__(self, data_source: Any, seed: int = 0) -> None:
        super().__init__(data_source)
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        yield from torch.randperm(len(self.data_source), generator=generator).tolist()


@final
class ResumableLoader(DataLoader[Any]):
    """A DataLoader that goes on with the next batch of the epoch when a run is resumed, and draws no global numbers.

    Lightning keeps its state in the checkpoints of the run, and puts a distributed sampler into the place of its own
    where several processes share the images.

    Args:
        dataset: Looked up by index.
        repeats: Times that an epoch goes through it, in the same order.
        seed: Of its workers.
        options: As :class:`torch.utils.data.DataLoader` takes them; a ``sampler`` with an ``epoch``.
    """

    repeats: int
    seed: int
    generator: torch.Generator | None

    def __init__(self, dataset: Dataset[Any], repeats: int = 1, seed: int = 0, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.repeats, self.seed = repeats, seed
        self._epoch, self._given = 0, 0
        self._to_skip = 0

    def __len__(self) -> int:
        return super().__len__() * self.repeats

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        epoch = getattr(self.sampler, "epoch", 0)
        skip = self._to_skip if epoch == self._epoch and self._to_skip < len(self) else 0
        self._epoch, self._given, self._to_skip = epoch, 0, 0
        for _ in range(self.repeats):
            self.generator = torch.Generator().manual_seed(self.seed + epoch)
            iterator = super().__iter__()
            self.generator = None
            for batch in iterator:
                self._given += 1
                if self._given > skip:
                    yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of which epoch were given out."""
        return {"epoch": self._epoch, "given": self._given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Leave these out, if the next epoch is this one and has others."""
        self._epoch, self._to_skip = state_dict["epoch"], state_dict["given"]


def full_batches(
    images: Float[Tensor, "n *shape"], *, steps_per_epoch: int = 1, targets: Float[Tensor, "n *shape"] | None = None
) -> ResumableLoader:
    """All images as one batch, ``steps_per_epoch`` times an epoch; each process of a distributed run has its share.

    Interpolating a few images takes thousands of full-batch steps; an epoch of many of them keeps the framework's work
    at the end of each epoch (validation, callbacks, checkpoints) from outweighing the training.

    With ``targets``, batches are :class:`Pair`: each image is trained on its own target in the place of itself.
    """
    data = _dataset(images, targets)
    return ResumableLoader(data, steps_per_epoch, batch_size=len(images), sampler=InOrder(data))


def mini_batches(
    images: Float[Tensor, "n *shape"],
    batch_size: int,
    *,
    passes_per_epoch: int = 1,
    seed: int = 0,
    targets: Float[Tensor, "n *shape"] | None = None,
) -> ResumableLoader:
    """The images in batches, shuffled anew in every epoch by the seed and the number of the epoch alone.

    With ``targets``, batches are :class:`Pair`.
    """
    data = _dataset(images, targets)
    return ResumableLoader(data, passes_per_epoch, seed, batch_size=batch_size, sampler=Shuffled(data, seed))


def _dataset(images: Tensor, targets: Tensor | None) -> TensorDataset | Pairs:
    return TensorDataset(images) if targets is None else Pairs(images, targets)
