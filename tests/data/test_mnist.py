"""MNIST through torchvision, and what both datasets say where their files are missing."""

import struct

import pytest
import torch

from memzoo.data import cifar10, mnist
from memzoo.errors import DataMissingError


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.numpy().tobytes())


def test_mnist_through_torchvision(tmp_path):
    raw = tmp_path / "MNIST/raw"
    images = torch.arange(3 * 28 * 28).reshape(3, 28, 28).remainder(251).to(torch.uint8)
    for split in ("train", "t10k"):
        write_idx(raw / f"{split}-images-idx3-ubyte", images)
        array = torch.tensor([0, 1, 2], dtype=torch.uint8)
        write_idx(raw / f"{split}-labels-idx1-ubyte", array)
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
