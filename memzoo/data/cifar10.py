"""Images of CIFAR-10 by their indices, read through torchvision or from the official binary files."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from memzoo.data.selection import Selection, check_split, select
from memzoo.errors import CorruptCheckpointError, DataMissingError

RECORD_BYTES = 1 + 3 * 32 * 32
"""Bytes of one image in the binary form: a label, then the pixels by channel, row and column."""


def read_binary_batch(path: str | Path) -> tuple[UInt8[Tensor, "n 3 32 32"], UInt8[Tensor, " n"]]:
    """Read ``(images, labels)`` from one ``*_batch*.bin`` file.

    Raises:
        CorruptCheckpointError: The size is not a whole number of records, or a label exceeds 9.
    """
    path = Path(path)
    # frombuffer wants memory that can be written.
    content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    if len(content) == 0 or len(content) % RECORD_BYTES:
        raise CorruptCheckpointError(
            f"{path} has {len(content)} bytes, not a multiple of {RECORD_BYTES}: not a CIFAR-10 binary batch, or cut "
            "short; unpack cifar-10-binary.tar.gz again."
        )
    records = content.reshape(-1, RECORD_BYTES)
    # Copies let go of the content of the file.
    labels = records[:, 0].clone()
    if labels.max() > 9:
        raise CorruptCheckpointError(f"{path} holds label {int(labels.max())}, CIFAR-10 has 0..9: another file format.")
    return records[:, 1:].reshape(-1, 3, 32, 32).clone(), labels


def cifar10(
    indices: Sequence[int], *, split: str = "train", root: str | Path = "data", download: bool = False
) -> Selection:
    """Read images (n, 3, 32, 32) of CIFAR-10 (Krizhevsky 2009; no licence given).

    Args:
        indices: Positions in the official order.
        split: ``"train"`` (50000) or ``"test"`` (10000).
        root: Folder that holds the binary ``cifar-10-batches-bin`` (all or some of its batches), which is read if it is
            there, or torchvision's ``cifar-10-batches-py``.
        download: Whether to download torchvision's form when neither is there.

    Raises:
        DataMissingError: ``root`` holds neither form and ``download`` is False, or the batch of an index is missing.
    """
    check_split(split)
    binary = Path(root) / "cifar-10-batches-bin"
    if binary.is_dir():
        images = _read_split(binary, split, max(indices, default=0))
        return select("cifar10", split, images, indices)
    # The import of torchvision is slow, and the binary form does not need it.
    from torchvision.datasets import CIFAR10

    try:
        whole = CIFAR10(root, train=split == "train", download=download)
    except RuntimeError as error:
        raise DataMissingError(
            f"no CIFAR-10 under {Path(root).resolve()} (looked for cifar-10-batches-bin and cifar-10-batches-py): "
            f"{error} Pass download=True, or the root= that holds it."
        ) from error
    # torchvision keeps the channels last.
    images = torch.from_numpy(whole.data).permute(0, 3, 1, 2)
    return select("cifar10", split, images, indices)


def _read_split(folder: Path, split: str, last: int) -> Tensor:
    """Read the batches in order, up to the one that holds image ``last``."""
    names = ["test_batch.bin"] if split == "test" else [f"data_batch_{k}.bin" for k in range(1, 6)]
    images: list[Tensor] = []
    for name in names:
        if not (folder / name).is_file():
            raise DataMissingError(
                f"{folder / name} is missing, and image {last} of {split} lies in this file or a later one; "
                "unpack the whole cifar-10-binary.tar.gz there."
            )
        images.append(read_binary_batch(folder / name)[0])
        if sum(map(len, images)) > last:
            break
    return torch.cat(images)
