"""A few images of a dataset, named by index and held with their hashes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from memzoo.errors import CorruptCheckpointError


def image_sha256(image: Shaped[Tensor, "*shape"]) -> str:
    """SHA-256 of the image's bytes, channel by channel, row by row."""
    return hashlib.sha256(image.contiguous().cpu().numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Selection:
    """Images of one split of a dataset, in the dataset's own 8-bit form; drawn ones as float32."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    images: Shaped[Tensor, "n *shape"]

    @property
    def sha256(self) -> tuple[str, ...]:
        """Hash of each image; what identifies them wherever the dataset comes from."""
        return tuple(image_sha256(image) for image in self.images)

    @property
    def digest(self) -> str:
        """One hash over all images in order, for selections too long to list."""
        return image_sha256(self.images)

    def pixels(self) -> Float[Tensor, "n *shape"]:
        """The images as float32: 8-bit ones in [0, 1], drawn ones as they are."""
        return pixels(self.images)

    def check(self, sha256: Sequence[str]) -> "Selection":
        """Return self when the images have these hashes, else raise an error that names the first that differs."""
        if len(sha256) != len(self.images):
            raise CorruptCheckpointError(
                f"{self.dataset}/{self.split}: {len(self.images)} images came, hashes are given for {len(sha256)}."
            )
        for index, found, wanted in zip(self.indices, self.sha256, sha256, strict=True):
            if found != wanted:
                raise CorruptCheckpointError(
                    f"image {index} of {self.dataset}/{self.split} has SHA-256 {found[:12]}..., "
                    f"wanted {wanted[:12]}...: another version of the dataset, another order or a damaged file; "
                    "download it afresh."
                )
        return self


def pixels(images: Shaped[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """8-bit images as float32 in [0, 1]; floating ones as they are."""
    return images if images.is_floating_point() else images.float() / 255


def select(dataset: str, split: str, images: UInt8[Tensor, "all *shape"], indices: Sequence[int]) -> Selection:
    """Rows of a whole dataset by index, refused beyond its ends."""
    wrong = [i for i in indices if not 0 <= i < len(images)]
    if wrong or not len(indices):
        raise IndexError(
            f"indices into {dataset}/{split} must be a non-empty list within 0..{len(images) - 1}, "
            f"got {wrong[:5] if wrong else 'none'}."
        )
    return Selection(dataset, split, tuple(indices), images[torch.as_tensor(list(indices))].clone())
