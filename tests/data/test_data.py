import gzip
import hashlib
import struct

import pytest
import torch

from memzoo.data import DISTRIBUTIONS, cifar10, drawn, full_batches, image_sha256, mnist, mnist20, read_binary_batch
from memzoo.errors import CorruptCheckpointError, DataMissingError


def write_binary_batch(path, labels, images):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes([label]) + bytes(image) for label, image in zip(labels, images, strict=True)))


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.numpy().tobytes())


@pytest.fixture
def cifar_root(tmp_path):
    """Two small training batches in the binary form; pixel values count up, so that every position is known."""
    for k in (1, 2):
        images = [[(17 * (10 * k + i) + j) % 256 for j in range(3072)] for i in range(3)]
        write_binary_batch(tmp_path / f"cifar-10-batches-bin/data_batch_{k}.bin", [k, 2, 3], images)
    return tmp_path


def test_binary_cifar_is_channel_row_column(cifar_root):
    images, labels = read_binary_batch(cifar_root / "cifar-10-batches-bin/data_batch_1.bin")
    assert images.shape == (3, 3, 32, 32)
    assert labels.tolist() == [1, 2, 3]
    assert images[1, 2, 5, 7] == (17 * 11 + 2 * 1024 + 5 * 32 + 7) % 256


def test_cifar_selection_crosses_batches_in_order(cifar_root):
    selection = cifar10([4, 0], root=cifar_root)
    assert selection.images[:, 0, 0, 0].tolist() == [(17 * 21) % 256, (17 * 10) % 256]
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


def test_mnist_through_torchvision(tmp_path):
    raw = tmp_path / "MNIST/raw"
    images = torch.arange(3 * 28 * 28).reshape(3, 28, 28).remainder(251).to(torch.uint8)
    for split in ("train", "t10k"):
        write_idx(raw / f"{split}-images-idx3-ubyte", images)
        write_idx(raw / f"{split}-labels-idx1-ubyte", torch.tensor([0, 1, 2], dtype=torch.uint8))
    selection = mnist([2, 0], split="test", root=tmp_path)
    assert selection.images.shape == (2, 1, 28, 28)
    assert torch.equal(selection.images[0, 0], images[2])
    with pytest.raises(IndexError, match=r"indices into mnist/test must be .* within 0\.\.2, got \[3\]"):
        mnist([3], split="test", root=tmp_path)


@pytest.mark.parametrize("dataset", [mnist, cifar10])
def test_missing_data_says_where_it_looked_and_what_to_do(dataset, tmp_path):
    with pytest.raises(DataMissingError, match=r"under .*looked for.*Pass download=True"):
        dataset([0], root=tmp_path)
    with pytest.raises(ValueError, match=r"split must be 'train' or 'test', got 'val'"):
        dataset([0], split="val", root=tmp_path)


def test_hashes_are_those_of_the_bytes():
    image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    assert image_sha256(image) == hashlib.sha256(bytes(range(12))).hexdigest()
    assert image_sha256(image.permute(0, 2, 1)) != image_sha256(image)


def test_another_image_is_found_out():
    examples, _ = mnist20()
    hashes = list(examples.sha256)
    assert examples.check(hashes) is examples
    with pytest.raises(CorruptCheckpointError, match=r"image 10 of mnist/train has SHA-256 .* wanted 000000000000"):
        examples.check([*hashes[:7], "0" * 64, *hashes[8:]])
    with pytest.raises(CorruptCheckpointError, match=r"20 images came, hashes are given for 19"):
        examples.check(hashes[1:])


def test_embedded_images_are_the_official_ones(shared_data):
    examples, starts = mnist20()
    with gzip.open(shared_data / "MNIST/raw/train-images-idx3-ubyte.gz") as file:
        train = torch.frombuffer(bytearray(file.read()[16:]), dtype=torch.uint8).reshape(-1, 1, 28, 28)
    with gzip.open(shared_data / "MNIST/raw/t10k-images-idx3-ubyte.gz") as file:
        test = torch.frombuffer(bytearray(file.read()[16:]), dtype=torch.uint8).reshape(-1, 1, 28, 28)
    assert torch.equal(examples.images, train[list(examples.indices)])
    assert torch.equal(starts.images, test[:1000])


def test_real_binary_batches(shared_data):
    selection = cifar10([27, 8], root=shared_data)
    # the first training batch of CIFAR-10 begins 6, 9, 9, 4, 1: frog, truck, truck, deer, car
    _, labels = read_binary_batch(shared_data / "cifar-10-batches-bin/data_batch_1.bin")
    assert labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert selection.images.float().mean() > 50


def test_full_batches_repeat_everything():
    images = torch.rand(5, 1, 2, 2)
    batches = list(full_batches(images, steps_per_epoch=3))
    assert len(batches) == 3
    assert all(torch.equal(batch[0], images) for batch in batches)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_drawn_images_depend_on_their_seed_alone(distribution):
    some = drawn(distribution, [3, 0], 2, (1, 3, 3))
    assert some.images.shape == (2, 2, 1, 3, 3)
    assert some.images.dtype == torch.float32
    torch.testing.assert_close(some.images[:, 1], drawn(distribution, range(5), 2, (1, 3, 3)).images[:, 0])
    assert some.digest == drawn(distribution, [3, 0], 2, (1, 3, 3)).digest
    assert some.digest != drawn(distribution, [3, 0], 2, (1, 3, 3), split="test").digest
    assert torch.equal(some.pixels(), some.images)


def test_distributions_of_drawn_images():
    normal, sphere, uniform = (drawn(name, range(100), 3, (1, 10, 10)).images for name in DISTRIBUTIONS)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    torch.testing.assert_close(sphere.flatten(2).norm(dim=2), torch.ones(3, 100))
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.02


def test_unknown_distribution():
    with pytest.raises(ValueError, match=r"drawn from normal, sphere, uniform, not from 'cauchy'"):
        drawn("cauchy", [0], 1, (1, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("normal", [0], 1, (2,), "valid"), "split must be 'train' or 'test', got 'valid'"),
        (("normal", [], 1, (2,), "train"), "at least one seed and one image a seed, got 0 and 1"),
        (("normal", [0], 0, (2,), "train"), "at least one seed and one image a seed, got 1 and 0"),
    ],
)
def test_nothing_to_draw(arguments, problem):
    *most, split = arguments
    with pytest.raises(ValueError, match=problem):
        drawn(*most, split=split)
