"""The images of a checkpoint of the zoo, to train another network on."""

from typing import final

from torch import Tensor

from memzoo.data import ImageData
from memzoo.errors import DataMissingError
from memzoo.zoo import info, load


@final
class ZooImages(ImageData):
    """The training images of a checkpoint, and its held-out starts; they come with memzoo.

    Args:
        id: As :func:`memzoo.load` takes it.
        batch_size: Images in a batch, shuffled; all of them, in order, when left out.
        steps_per_epoch: Steps in an epoch, where all images are one batch.
        seed: Of the order of the batches.

    Raises:
        UnknownCheckpointError: No such id; the message names the nearest.
    """

    def __init__(
        self,
        id: str = "mnist20-fc14x128",
        batch_size: int | None = None,
        steps_per_epoch: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, seed)
        if ":" not in id and "@" not in id:
            info(id)
        self.id = id

    def read(self) -> tuple[Tensor, Tensor | None]:
        """From the checkpoint, checked by hash."""
        model = load(self.id)
        if model.examples is None:
            raise DataMissingError(f"{self.id} carries no images.")
        return model.examples, model.probes
