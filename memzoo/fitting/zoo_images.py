"""Train another network on the images of a checkpoint of the zoo."""

from typing import final

from torch import Tensor

from memzoo.data import ImageData
from memzoo.errors import DataMissingError
from memzoo.zoo import info, load


@final
class ZooImages(ImageData):
    """Hold the training images of a checkpoint and its held-out starts; they come with memzoo.

    Args:
        id: Name of the checkpoint, in one of the forms that :func:`memzoo.load` takes.
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, if all images are one batch.
        seed: Seed of the order of the batches.

    Raises:
        UnknownCheckpointError: There is no such id; the message names the nearest one.
    """

    def __init__(
        self,
        id: str = "mnist20-fc14x128",
        batch_size: int | None = None,
        steps_per_epoch: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, seed)
        # A name with one of these signs is no id of the registry, and is looked up when it is loaded.
        if ":" not in id and "@" not in id:
            info(id)
        self.id = id

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Read the images of the checkpoint, which is checked by hash."""
        model = load(self.id)
        if model.examples is None:
            raise DataMissingError(f"{self.id} carries no images.")
        return model.examples, model.probes
