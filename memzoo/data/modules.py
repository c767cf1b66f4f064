"""The small training sets as LightningDataModules: a few images to train on, held-out images to start from."""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from memzoo.data.batches import full_batches, mini_batches
from memzoo.data.cifar10 import cifar10
from memzoo.data.demo import mnist20
from memzoo.data.drawn import DISTRIBUTIONS, drawn
from memzoo.data.mnist import mnist
from memzoo.data.selection import Selection, pixels
from memzoo.errors import CorruptCheckpointError, DataMissingError, InvalidArgumentError

TRAINING, HELD_OUT = ("members", "examples", "images"), ("starts", "probes", "controls")
VALIDATION_BATCH = 256


class ImageData(LightningDataModule, ABC):
    """A few training images, by default all of them as one batch, and held-out images as its validation set.

    Args:
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.
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
        self.batch_size, self.steps_per_epoch, self.seed = batch_size, steps_per_epoch, seed
        self.examples: Tensor | None = None
        self.probes: Tensor | None = None

    @abstractmethod
    def read(self) -> tuple[Tensor, Tensor | None]:
        """Training images and held-out images, floating point; None where there are none."""

    def setup(self, stage: str | None = None) -> None:
        """Read the images, once."""
        if self.examples is None:
            self.examples, self.probes = self.read()

    def train_dataloader(self) -> DataLoader[Any]:
        """All images as one batch, ``steps_per_epoch`` times; or shuffled batches."""
        self.setup()
        assert self.examples is not None
        if self.batch_size is None:
            return full_batches(self.examples, steps_per_epoch=self.steps_per_epoch)
        return mini_batches(self.examples, self.batch_size, seed=self.seed)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """The held-out images."""
        self.setup()
        return [] if self.probes is None else DataLoader(TensorDataset(self.probes), batch_size=VALIDATION_BATCH)


@final
class MNIST20(ImageData):
    """Two MNIST images of each digit, and 1000 held-out ones; they come with the package.

    Args:
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.
    """

    def read(self) -> tuple[Tensor, Tensor]:
        """From the package."""
        examples, starts = mnist20()
        return examples.pixels(), starts.pixels()


class Indexed(ImageData):
    """Images of a dataset by their positions: training images from its training split, held-out ones from its test.

    Args:
        indices: ``"0:100"``, ``"0:100:10"``, ``"3,7,12"`` or a list.
        held_out: Likewise, in the test split.
        root: Folder of the dataset.
        download: Fetch it where it is missing.
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.
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
        self.indices, self.held_out = parse_indices(indices), parse_indices(held_out)
        self.root, self.download = root, download

    def prepare_data(self) -> None:
        """Fetch the dataset, in one process of a machine."""
        if self.download:
            for split in ("train", "test"):
                type(self).dataset([0], split=split, root=self.root, download=True)

    def read(self) -> tuple[Tensor, Tensor]:
        """From the folder."""
        dataset = type(self).dataset
        examples = dataset(self.indices, split="train", root=self.root)
        return examples.pixels(), dataset(self.held_out, split="test", root=self.root).pixels()


@final
class MNIST(Indexed):
    """Images of MNIST by index.

    Args:
        indices: ``"0:100"``, ``"0:100:10"``, ``"3,7,12"`` or a list.
        held_out: Likewise, in the test split.
        root: Folder of the dataset.
        download: Fetch it where it is missing.
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.
    """

    dataset: ClassVar[Callable[..., Selection]] = staticmethod(mnist)


@final
class CIFAR10(Indexed):
    """Images of CIFAR-10 by index.

    Args:
        indices: ``"0:100"``, ``"0:100:10"``, ``"3,7,12"`` or a list.
        held_out: Likewise, in the test split.
        root: Folder of the dataset.
        download: Fetch it where it is missing.
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.
    """

    dataset: ClassVar[Callable[..., Selection]] = staticmethod(cifar10)


@final
class Drawn(ImageData):
    """Random images, and as held-out ones others of the same distribution.

    Args:
        distribution: ``"normal"``, ``"sphere"`` or ``"uniform"``, see :func:`memzoo.data.drawn`.
        count: Training images.
        shape: Of one image.
        held_out: Held-out images.
        draw: Seed of the images.
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.
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
        if distribution not in DISTRIBUTIONS:
            raise InvalidArgumentError(f"images are drawn from {', '.join(DISTRIBUTIONS)}, not from {distribution!r}.")
        if count < 1 or held_out < 0:
            raise InvalidArgumentError(
                f"needs at least one image and no fewer than 0 held-out ones, got {count} and {held_out}."
            )
        self.distribution, self.count, self.shape = distribution, count, tuple(shape)
        self.held_out, self.draw = held_out, draw

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Drawn by their own seed."""
        examples = drawn(self.distribution, [self.draw], self.count, self.shape).images[:, 0]
        if not self.held_out:
            return examples, None
        return examples, drawn(self.distribution, [self.draw], self.held_out, self.shape, split="test").images[:, 0]


@final
class Images(ImageData):
    r"""Images of one's own, from a file of arrays (n, \*shape).

    Args:
        path: A ``.safetensors`` or ``.npz`` file. Its array ``members`` (or ``examples``, ``images``, or the only one)
            holds the training images, ``starts`` (or ``probes``, ``controls``) held-out ones: 8-bit ones become floats
            in [0, 1], floats stay as they are. Pickled objects are not opened.
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.

    Raises:
        DataMissingError: At ``setup``, no such file.
        CorruptCheckpointError: At ``setup``, a file that cannot be read, or holds no images.
    """

    def __init__(self, path: str, batch_size: int | None = None, steps_per_epoch: int = 100, seed: int = 0) -> None:
        super().__init__(batch_size, steps_per_epoch, seed)
        if Path(path).suffix not in (".safetensors", ".npz"):
            raise InvalidArgumentError(f"images come from a .safetensors or .npz file, got {path!r}.")
        self.path: Path = Path(path)

    def read(self) -> tuple[Tensor, Tensor | None]:
        """From the file."""
        if not self.path.is_file():
            raise DataMissingError(f"no images at {self.path.absolute()}; check the name.")
        found = _arrays(self.path)
        name = next((name for name in TRAINING if name in found), None)
        if name is None and len(found) == 1:
            name = next(iter(found))
        if name is None:
            raise CorruptCheckpointError(
                f"{self.path} holds {', '.join(sorted(found)) or 'nothing'}; name the training images {TRAINING[0]}, "
                f"and the held-out ones {HELD_OUT[0]}."
            )
        held_out = next((key for key in HELD_OUT if key in found and key != name), None)
        return self._images(name, found[name]), None if held_out is None else self._images(held_out, found[held_out])

    def _images(self, name: str, array: Tensor) -> Tensor:
        if array.dtype != torch.uint8 and not array.is_floating_point():
            raise CorruptCheckpointError(f"{name} of {self.path} is {array.dtype}; store 8 bits, 0 to 255, or floats.")
        if array.ndim < 2 or not len(array):
            raise CorruptCheckpointError(
                f"{name} of {self.path} has shape {tuple(array.shape)}, no images (n, *shape)."
            )
        images = pixels(array).float()
        if not images.isfinite().all():
            raise CorruptCheckpointError(f"{name} of {self.path} holds NaN or infinity; mend it.")
        return images


def parse_indices(text: str | list[int]) -> list[int]:
    """``"0:100"``, ``"0:100:10"`` or ``"3,7,12"`` as a list; a list as it is.

    Example:
        >>> parse_indices("0:10:4")
        [0, 4, 8]
    """
    if not isinstance(text, str):
        found = list(text)
    else:
        try:
            numbers = [int(part) for part in text.replace(":", ",").split(",")]
        except ValueError:
            numbers = []
        slices = ":" in text and "," not in text and 2 <= len(numbers) <= 3
        if not numbers or (":" in text and not slices) or (slices and len(numbers) == 3 and not numbers[2]):
            raise InvalidArgumentError(f"indices are start:stop, start:stop:step or numbers with commas, got {text!r}.")
        found = list(range(*numbers)) if slices else numbers
    if not found or min(found) < 0:
        raise InvalidArgumentError(f"indices must name at least one image, from 0 on, got {text!r}.")
    return found


def _arrays(path: Path) -> dict[str, Tensor]:
    """All arrays of a file."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    except (SafetensorError, ValueError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise CorruptCheckpointError(
            f"{path} is no readable file of plain arrays: {error}; write it afresh (arrays of objects are pickles, "
            "which could run any code, and are not opened)."
        ) from error
