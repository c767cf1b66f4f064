"""Images of MNIST by their indices, read through torchvision."""

from collections.abc import Sequence
from pathlib import Path

from memzoo.data.selection import Selection, check_split, select
from memzoo.errors import DataMissingError


def mnist(
    indices: Sequence[int], *, split: str = "train", root: str | Path = "data", download: bool = False
) -> Selection:
    """Read images (n, 1, 28, 28) of MNIST (LeCun and Cortes, CC BY-SA 3.0).

    Args:
        indices: Positions in the official order.
        split: ``"train"`` (60000) or ``"test"`` (10000).
        root: Folder that holds, or will hold, torchvision's ``MNIST/raw``.
        download: Whether to download what is missing.

    Raises:
        DataMissingError: ``root`` does not hold the dataset, and ``download`` is False.
    """
    # The import of torchvision is slow, and only the datasets need it.
    from torchvision.datasets import MNIST

    check_split(split)
    try:
        whole = MNIST(root, train=split == "train", download=download)
    except RuntimeError as error:
        raise DataMissingError(
            f"no MNIST under {Path(root).resolve()} (looked for MNIST/raw/*-ubyte): {error} "
            "Pass download=True, or the root= that holds it unpacked."
        ) from error
    return select("mnist", split, whole.data[:, None], indices)
