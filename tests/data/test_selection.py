"""Hashes of images, and the images that come with the package."""

import gzip
import hashlib

import pytest
import torch

from memzoo.data import image_sha256, mnist20
from memzoo.errors import CorruptCheckpointError


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
