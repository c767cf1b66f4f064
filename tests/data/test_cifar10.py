"""CIFAR-10 from small binary files, and from the real ones where they are there."""

import pytest

from memzoo.data import cifar10, read_binary_batch
from memzoo.errors import CorruptCheckpointError, DataMissingError


def write_binary_batch(path, labels, images):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes([label]) + bytes(image) for label, image in zip(labels, images, strict=True)))


@pytest.fixture
def cifar_root(tmp_path):
    """Write two small training batches in the binary form; pixel values count up, so that every position is known."""
    for k in (1, 2):
        images = [[(17 * (10 * k + i) + j) % 256 for j in range(3072)] for i in range(3)]
        write_binary_batch(tmp_path / f"cifar-10-batches-bin/data_batch_{k}.bin", [k, 2, 3], images)
    return tmp_path


def test_binary_cifar_is_channel_row_column(cifar_root):
    images, labels = read_binary_batch(cifar_root / "cifar-10-batches-bin/data_batch_1.bin")
    assert images.shape == (3, 3, 32, 32)
    assert labels.tolist() == [1, 2, 3]
    # channel 2, row 5, column 7: the file stores channels of 32 x 32 pixels, row by row
    expected = (17 * 11 + 2 * 1024 + 5 * 32 + 7) % 256
    assert images[1, 2, 5, 7] == expected


def test_cifar_selection_crosses_batches_in_order(cifar_root):
    selection = cifar10([4, 0], root=cifar_root)
    expected = [(17 * 21) % 256, (17 * 10) % 256]
    assert selection.images[:, 0, 0, 0].tolist() == expected
    assert selection.indices == (4, 0)
    assert selection.pixels().max() <= 1


def test_cifar_says_which_batch_is_missing(cifar_root):
    with pytest.raises(DataMissingError, match=r"data_batch_3\.bin is missing, and image 6 of train"):
        cifar10([6], root=cifar_root)
    with pytest.raises(DataMissingError, match=r"test_batch\.bin is missing"):
        cifar10([0], split="test", root=cifar_root)


def test_cut_binary_batch(cifar_root):
    path = cifar_root / "cifar-10-batches-bin/data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptCheckpointError, match=r"9218 bytes, not a multiple of 3073"):
        cifar10([0], root=cifar_root)
    path.write_bytes(bytes([99]) * 3073)
    with pytest.raises(CorruptCheckpointError, match=r"holds label 99"):
        read_binary_batch(path)


def test_real_binary_batches(shared_data):
    selection = cifar10([27, 8], root=shared_data)
    # the first training batch of CIFAR-10 begins 6, 9, 9, 4, 1: frog, truck, truck, deer, car
    _, labels = read_binary_batch(shared_data / "cifar-10-batches-bin/data_batch_1.bin")
    assert labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert selection.images.float().mean() > 50
