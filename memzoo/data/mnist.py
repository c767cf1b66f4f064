"""MNIST by index, through torchvision."""

from collections.abc import Sequence
from pathlib import Path

from memzoo.data.selection import Selection, select
from memzoo.errors import DataMissingError, InvalidArgumentError


def mnist(
    indices: Sequence[int], *, split: str = "train", root: str | Path = "data", download: bool = False
) -> Selection:
    """Images (n, 1, 28, 28) of MNIST (LeCun and Cortes, CC BY-SA 3.0).

    Args:
        indices: Positions in the official order.
        split: ``"train"`` (60000) or ``"test"`` (10000).
        root: Folder that holds or receives torchvision's ``MNIST/raw``.
        download: Fetch what is missing.

    Raises:
        DataMissingError: Nothing under ``root`` and ``download`` is off.
    """
    from torchvision.datasets import MNIST

    if split not in ("train", "test"):
        raise InvalidArgumentError(f"split must be 'train' or 'test', got {split!r}.")
    try:
        whole = MNIST(root, train=split == "train", download=download)
    except RuntimeError as error:
        raise DataMissingError(
            f"no MNIST under {Path(root).resolve()} (looked for MNIST/raw/*-ubyte): {error} "
            "Pass download=True, or the root= that holds it unpacked."
        ) from error
    return select("mnist", split, whole.data[:, None], indices)
