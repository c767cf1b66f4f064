"""A few images of a dataset, identified by their indices and their hashes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from memzoo.errors import CorruptCheckpointError, IndexRangeError, InvalidArgumentError


def image_sha256(image: Shaped[Tensor, "*shape"]) -> str:
    """Compute the SHA-256 of the image's bytes, channel by channel, row by row."""
    # A permuted image has its bytes in another order, until it is contiguous.
    return hashlib.sha256(image.contiguous().cpu().numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Selection:
    """Hold images of one split of a dataset: 8-bit ones as the dataset has them, drawn ones as float32."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    images: Shaped[Tensor, "n *shape"]

    @property
    def sha256(self) -> tuple[str, ...]:
        """Compute the hash of each image, which identifies the image wherever the dataset comes from."""
        return tuple(image_sha256(image) for image in self.images)

    @property
    def digest(self) -> str:
        """Compute one hash over all images in order, for selections that are too long for a list."""
        return image_sha256(self.images)

    def pixels(self) -> Float[Tensor, "n *shape"]:
        """Return the images as float32: 8-bit ones in [0, 1], drawn ones unchanged."""
        return pixels(self.images)

    def check(self, sha256: Sequence[str]) -> "Selection":
        """Return self when the images have these hashes; else raise an error that names the first that differs."""
        if len(sha256) != len(self.images):
            raise CorruptCheckpointError(
                f"{self.dataset}/{self.split}: {len(self.images)} images came, hashes are given for {len(sha256)}."
            )
        for index, actual, wanted in zip(self.indices, self.sha256, sha256, strict=True):
            if actual != wanted:
                raise CorruptCheckpointError(
                    f"image {index} of {self.dataset}/{self.split} has SHA-256 {actual[:12]}..., "
                    f"wanted {wanted[:12]}...: another version of the dataset, another order or a damaged file; "
                    "download it afresh."
                )
        return self


def pixels(images: Shaped[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """Convert 8-bit images to float32 in [0, 1]; return floating-point images unchanged."""
    return images if images.is_floating_point() else images.float() / 255


def select(dataset: str, split: str, images: UInt8[Tensor, "all *shape"], indices: Sequence[int]) -> Selection:
    """Select images of a whole dataset by index; raise an IndexError beyond its ends."""
    return Selection(dataset, split, tuple(indices), pick_rows(dataset, split, images, indices))


def pick_rows(dataset: str, split: str, rows: Shaped[Tensor, "all *shape"], indices: Sequence[int]) -> Tensor:
    """Copy the rows of these indices; raise an IndexError if there are none, or beyond the ends."""
    wrong = [i for i in indices if not 0 <= i < len(rows)]
    if wrong or not len(indices):
        raise IndexRangeError(
            f"indices into {dataset}/{split} must be a non-empty list within 0..{len(rows) - 1}, "
            f"got {wrong[:5] if wrong else 'none'}."
        )
    # Indexing by a tensor copies, so that the whole dataset need not stay in memory.
    return rows[torch.as_tensor(list(indices))]


def check_split(split: str) -> None:
    """Raise an error unless the split is ``"train"`` or ``"test"``."""
    if split not in ("train", "test"):
        raise InvalidArgumentError(f"split must be 'train' or 'test', got {split!r}.")
