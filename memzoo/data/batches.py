"""Training sets as DataLoaders that a resumed run continues where it stopped, and that several processes share."""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, TensorDataset

from memzoo.errors import InvalidArgumentError


class Pair(NamedTuple):
    """Hold a batch, or one sample, whose target is not the input itself: the output that a network is to give."""

    input: Tensor
    target: Tensor


@final
class Pairs(Dataset[Pair]):
    """Hold images, each with a target."""

    images: Tensor
    targets: Tensor

    def __init__(self, images: Float[Tensor, "n *shape"], targets: Float[Tensor, "n *shape"]) -> None:
        if images.shape != targets.shape:
            raise InvalidArgumentError(
                f"images of shape {tuple(images.shape)} need a target each, of their own shape; got "
                f"{tuple(targets.shape)}."
            )
        self.images = images
        self.targets = targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pair:
        return Pair(self.images[index], self.targets[index])


class OrderedSampler(SequentialSampler):
    """Yield every image in order, in every epoch, and keep the number of the epoch."""

    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch; Lightning does so before each epoch."""
        self.epoch = epoch


class ShuffledSampler(RandomSampler):
    """Yield every image once, in an order that seed and epoch alone determine, so that a resumed run repeats it."""

    epoch: int = 0

    def __init__(self, data_source: Any, seed: int = 0) -> None:
        super().__init__(data_source)
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch; Lightning does so before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        yield from torch.randperm(len(self.data_source), generator=generator).tolist()


@final
class ResumableLoader(DataLoader[Any]):
    """Load batches; continue with the next batch of the epoch when a run is resumed, and draw no global random numbers.

    Lightning keeps the state of the loader in the checkpoints of the run, and replaces its sampler by a distributed one
    where several processes share the images.

    Args:
        dataset: Images by index.
        repeats: Number of passes over the dataset in an epoch, all in the same order.
        seed: Seed of the workers.
        options: Options of :class:`torch.utils.data.DataLoader`; the ``sampler`` must have an ``epoch``.
    """

    repeats: int
    seed: int
    generator: torch.Generator | None

    def __init__(self, dataset: Dataset[Any], repeats: int = 1, seed: int = 0, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.repeats = repeats
        self.seed = seed
        self._epoch = 0
        self._given = 0
        self._to_skip = 0

    def __len__(self) -> int:
        return super().__len__() * self.repeats

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        epoch = getattr(self.sampler, "epoch", 0)
        same_epoch = epoch == self._epoch
        skip = self._to_skip if same_epoch and self._to_skip < len(self) else 0
        self._epoch = epoch
        self._given = 0
        self._to_skip = 0
        for _ in range(self.repeats):
            # Without a generator of its own a DataLoader draws the seed of its workers from the global one.
            self.generator = torch.Generator().manual_seed(self.seed + epoch)
            iterator = super().__iter__()
            # A generator cannot be pickled, so it is kept no longer than it is needed.
            self.generator = None
            for batch in iterator:
                self._given += 1
                if self._given > skip:
                    yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of batches that were given out in it."""
        return {"epoch": self._epoch, "given": self._given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Skip the batches that were given out, if the next epoch is the same one and has others."""
        self._epoch = state_dict["epoch"]
        self._to_skip = state_dict["given"]


def full_batches(
    images: Float[Tensor, "n *shape"], *, steps_per_epoch: int = 1, targets: Float[Tensor, "n *shape"] | None = None
) -> ResumableLoader:
    """Load all images as one batch, ``steps_per_epoch`` times an epoch; processes of a distributed run share them.

    Interpolating a few images takes thousands of full-batch steps. With many steps in an epoch the framework's work at
    the end of each epoch (validation, callbacks, checkpoints) does not outweigh the training.

    With ``targets``, batches are :class:`Pair`: each image is trained on its own target instead of itself.
    """
    data = _build_dataset(images, targets)
    return ResumableLoader(data, steps_per_epoch, batch_size=len(images), sampler=OrderedSampler(data))


def mini_batches(
    images: Float[Tensor, "n *shape"],
    batch_size: int,
    *,
    passes_per_epoch: int = 1,
    seed: int = 0,
    targets: Float[Tensor, "n *shape"] | None = None,
) -> ResumableLoader:
    """Load the images in batches, shuffled in every epoch by the seed and the number of the epoch alone.

    With ``targets``, batches are :class:`Pair`.
    """
    data = _build_dataset(images, targets)
    sampler = ShuffledSampler(data, seed)
    return ResumableLoader(data, passes_per_epoch, seed, batch_size=batch_size, sampler=sampler)


def _build_dataset(images: Tensor, targets: Tensor | None) -> TensorDataset | Pairs:
    """Build the dataset of images alone, or of images with their targets."""
    return TensorDataset(images) if targets is None else Pairs(images, targets)
