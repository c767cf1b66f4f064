"""The small training sets as LightningDataModules: a few images to train on, and held-out images as starts."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from memzoo._reading import is_file, read_arrays, show_text
from memzoo.data.batches import full_batches, mini_batches
from memzoo.data.cifar10 import cifar10
from memzoo.data.demo import mnist20
from memzoo.data.drawn import check_distribution, drawn
from memzoo.data.mnist import mnist
from memzoo.data.selection import Selection, pixels
from memzoo.errors import CorruptCheckpointError, DataMissingError, InvalidArgumentError

TRAINING_NAMES = ("members", "examples", "images")
"""Names of the array of training images in a file; the first that is there counts."""
HELD_OUT_NAMES = ("starts", "probes", "controls")
"""Names of the array of held-out images."""
VALIDATION_BATCH = 256
"""Held-out images in a batch."""


# The command line describes the options of a class by the class's own docstring, so that subclasses repeat them.


class ImageData(LightningDataModule, ABC):
    """Hold a few training images, by default all in one batch, and held-out images as the validation set.

    Args:
        batch_size: Images in a batch, shuffled; when left out, all images in order.
        steps_per_epoch: Steps in an epoch, when all images are one batch.
        seed: Seed of the order of the batches.
    """

    batch_size: int | None
    steps_per_epoch: int
    seed: int

    def __init__(self, batch_size: int | None = None, steps_per_epoch: int = 100, seed: int = 0) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise InvalidArgumentError(
                f"batch_size must be at least 1, got {batch_size}; leave it out for all images at once."
            )
        if steps_per_epoch < 1:
            raise InvalidArgumentError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}.")
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.examples: Tensor | None = None
        self.probes: Tensor | None = None

    @abstractmethod
    def read(self) -> tuple[Tensor, Tensor | None]:
        """Read training images and held-out images, floating point; None if there are no held-out images."""

    def setup(self, stage: str | None = None) -> None:
        """Read the images, once."""
        # Lightning calls this before each stage: fit, validate, test.
        if self.examples is None:
            self.examples, self.probes = self.read()

    def train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of all images as one batch, ``steps_per_epoch`` times, or of shuffled batches."""
        self.setup()
        assert self.examples is not None
        if self.batch_size is None:
            return full_batches(self.examples, steps_per_epoch=self.steps_per_epoch)
        return mini_batches(self.examples, self.batch_size, seed=self.seed)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return a loader of the held-out images, or no loader if there are none."""
        self.setup()
        if self.probes is None:
            return []
        return DataLoader(TensorDataset(self.probes), batch_size=VALIDATION_BATCH)


@final
class MNIST20(ImageData):
    """Hold two MNIST images of each digit, and 1000 held-out images, which come with the package.

    Args:
        batch_size: Images in a batch, shuffled; when left out, all images in order.
        steps_per_epoch: Steps in an epoch, when all images are one batch.
        seed: Seed of the order of the batches.
    """

    def read(self) -> tuple[Tensor, Tensor]:
        """Read the images from the package."""
        examples, starts = mnist20()
        return examples.pixels(), starts.pixels()


class Indexed(ImageData):
    """Hold images of a dataset by their indices: of its training split to train on, of its test split as held out.

    Args:
        indices: ``"0:100"``, ``"0:100:10"``, ``"3,7,12"`` or a list.
        held_out: Indices in the test split, in the same form.
        root: Folder of the dataset.
        download: Whether to download the dataset if it is missing.
        batch_size: Images in a batch, shuffled; when left out, all images in order.
        steps_per_epoch: Steps in an epoch, when all images are one batch.
        seed: Seed of the order of the batches.
    """

    dataset: ClassVar[Callable[..., Selection]]
    indices: list[int]
    held_out: list[int]
    root: str
    download: bool

    def __init__(
        self,
        indices: str | list[int] = "0:20",
        held_out: str | list[int] = "0:1000",
        root: str = "data",
        download: bool = False,
        batch_size: int | None = None,
        steps_per_epoch: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, seed)
        self.indices = parse_indices(indices)
        self.held_out = parse_indices(held_out)
        self.root = root
        self.download = download

    def prepare_data(self) -> None:
        """Download the dataset, in one process of each machine."""
        if self.download:
            # The images that are asked for are read later, in every process.
            for split in ("train", "test"):
                type(self).dataset([0], split=split, root=self.root, download=True)

    def read(self) -> tuple[Tensor, Tensor]:
        """Read the images from the folder."""
        dataset = type(self).dataset
        examples = dataset(self.indices, split="train", root=self.root)
        held_out = dataset(self.held_out, split="test", root=self.root)
        return examples.pixels(), held_out.pixels()


@final
class MNIST(Indexed):
    """Hold images of MNIST by their indices.

    Args:
        indices: ``"0:100"``, ``"0:100:10"``, ``"3,7,12"`` or a list.
        held_out: Indices in the test split, in the same form.
        root: Folder of the dataset.
        download: Whether to download the dataset if it is missing.
        batch_size: Images in a batch, shuffled; when left out, all images in order.
        steps_per_epoch: Steps in an epoch, when all images are one batch.
        seed: Seed of the order of the batches.
    """

    dataset: ClassVar[Callable[..., Selection]] = staticmethod(mnist)


@final
class CIFAR10(Indexed):
    """Hold images of CIFAR-10 by their indices.

    Args:
        indices: ``"0:100"``, ``"0:100:10"``, ``"3,7,12"`` or a list.
        held_out: Indices in the test split, in the same form.
        root: Folder of the dataset.
        download: Whether to download the dataset if it is missing.
        batch_size: Images in a batch, shuffled; when left out, all images in order.
        steps_per_epoch: Steps in an epoch, when all images are one batch.
        seed: Seed of the order of the batches.
    """

    dataset: ClassVar[Callable[..., Selection]] = staticmethod(cifar10)


@final
class Drawn(ImageData):
    """Hold random images, and others of the same distribution as held-out images.

    Args:
        distribution: ``"normal"``, ``"sphere"`` or ``"uniform"``, see :func:`memzoo.data.drawn`.
        count: Number of training images.
        shape: Shape of one image.
        held_out: Number of held-out images.
        draw: Seed of the images.
        batch_size: Images in a batch, shuffled; when left out, all images in order.
        steps_per_epoch: Steps in an epoch, when all images are one batch.
        seed: Seed of the order of the batches.
    """

    count: int
    shape: tuple[int, ...]
    held_out: int
    draw: int

    def __init__(
        self,
        distribution: str = "uniform",
        count: int = 5,
        shape: tuple[int, ...] = (1, 8, 8),
        held_out: int = 200,
        draw: int = 0,
        batch_size: int | None = None,
        steps_per_epoch: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, seed)
        check_distribution(distribution)
        if count < 1 or held_out < 0:
            raise InvalidArgumentError(
                f"needs at least one image and no fewer than 0 held-out ones, got {count} and {held_out}."
            )
        self.distribution = distribution
        self.count = count
        self.shape = tuple(shape)
        self.held_out = held_out
        self.draw = draw

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Draw the images, by a seed of their own."""
        examples = drawn(self.distribution, [self.draw], self.count, self.shape)
        if not self.held_out:
            return examples.images[:, 0], None
        held_out = drawn(self.distribution, [self.draw], self.held_out, self.shape, split="test")
        return examples.images[:, 0], held_out.images[:, 0]


@final
class Images(ImageData):
    r"""Hold images of your own, from a file of arrays (n, \*shape).

    Args:
        path: A ``.safetensors`` or ``.npz`` file. Its array ``members`` (or ``examples``, ``images``, or the only one)
            holds the training images, ``starts`` (or ``probes``, ``controls``) the held-out images: 8-bit images become
            floats in [0, 1], floats stay unchanged. Pickled objects are not opened.
        batch_size: Images in a batch, shuffled; when left out, all images in order.
        steps_per_epoch: Steps in an epoch, when all images are one batch.
        seed: Seed of the order of the batches.

    Raises:
        DataMissingError: At ``setup``, the file is missing.
        CorruptCheckpointError: At ``setup``, the file cannot be read or holds no images.
    """

    def __init__(self, path: str, batch_size: int | None = None, steps_per_epoch: int = 100, seed: int = 0) -> None:
        super().__init__(batch_size, steps_per_epoch, seed)
        if Path(path).suffix not in (".safetensors", ".npz"):
            raise InvalidArgumentError(f"images come from a .safetensors or .npz file, got {path!r}.")
        self.path: Path = Path(path)

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Read the images from the file."""
        if not is_file(self.path):
            raise DataMissingError(f"no images at {self.path.absolute()}; check the name.")
        arrays = read_arrays(self.path)
        names = [name for name in TRAINING_NAMES if name in arrays]
        # A single array needs no particular name.
        if not names and len(arrays) == 1:
            names = list(arrays)
        if not names:
            raise CorruptCheckpointError(
                f"{self.path} holds {show_text(', '.join(sorted(arrays))) or 'nothing'}; name the training images "
                f"{TRAINING_NAMES[0]}, and the held-out ones {HELD_OUT_NAMES[0]}."
            )
        name = names[0]
        examples = self._convert_images(name, arrays.pop(name))
        for name in HELD_OUT_NAMES:
            if name in arrays:
                return examples, self._convert_images(name, arrays[name])
        return examples, None

    def _convert_images(self, name: str, array: Tensor) -> Tensor:
        """Convert an array to float32 images; raise an error if it holds none."""
        if array.dtype != torch.uint8 and not array.is_floating_point():
            raise CorruptCheckpointError(
                f"{show_text(name)} of {self.path} is {array.dtype}; store 8 bits, 0 to 255, or floats."
            )
        if array.ndim < 2 or not len(array):
            raise CorruptCheckpointError(
                f"{show_text(name)} of {self.path} has shape {tuple(array.shape)}, no images (n, *shape)."
            )
        images = pixels(array).float()
        if not images.isfinite().all():
            raise CorruptCheckpointError(f"{show_text(name)} of {self.path} holds NaN or infinity; mend it.")
        return images


def parse_indices(text: str | list[int]) -> list[int]:
    """Parse ``"0:100"``, ``"0:100:10"`` or ``"3,7,12"`` to a list of indices; copy a list.

    Example:
        >>> parse_indices("0:10:4")
        [0, 4, 8]
    """
    if not isinstance(text, str):
        indices = list(text)
    else:
        try:
            # range refuses more than three numbers, and a step of 0.
            indices = [*range(*map(int, text.split(":")))] if ":" in text else [*map(int, text.split(","))]
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(
                f"indices are start:stop, start:stop:step or numbers with commas, got {text!r}."
            ) from error
    if not indices or min(indices) < 0:
        raise InvalidArgumentError(f"indices must name at least one image, from 0 on, got {text!r}.")
    return indices
