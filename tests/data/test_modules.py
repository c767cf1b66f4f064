import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import start_code
from safetensors.torch import save_file
from torch.testing import assert_close

from memzoo.data import CIFAR10, MNIST, MNIST20, Drawn, Images, cifar10, mnist20
from memzoo.data.modules import parse_indices
from memzoo.errors import CorruptCheckpointError, DataMissingError

FULL_BATCHES = Path(__file__).parents[1] / "support" / "full_batches.py"


def test_all_images_are_one_batch_by_default():
    data = MNIST20(steps_per_epoch=3)
    batches = [batch[0] for batch in data.train_dataloader()]
    assert len(batches) == len(data.train_dataloader()) == 3
    assert all(torch.equal(batch, mnist20()[0].pixels()) for batch in batches)
    held_out = torch.cat([batch[0] for batch in data.val_dataloader()])
    assert torch.equal(held_out, mnist20()[1].pixels())
    assert torch.equal(batches[0], data.examples)


def test_two_processes_share_the_images_of_a_full_batch(tmp_path):
    one = start_code(FULL_BATCHES.read_text(), ["1", str(tmp_path / "1.pt")], tmp_path / "said.txt")
    command = [sys.executable, "-W", "ignore", str(FULL_BATCHES), "2", str(tmp_path / "2.pt")]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    one.join(timeout=240)
    assert one.exitcode == 0, (tmp_path / "said.txt").read_text()
    alone = torch.load(tmp_path / "1.pt")
    together = torch.load(tmp_path / "2.pt")
    assert together["seen"] == alone["seen"] / 2  # by the first of them
    assert_close(together["weights"], alone["weights"])


def test_images_by_index(shared_data):
    data = CIFAR10(indices="8,27", held_out="0:4", root=str(shared_data))
    expected = cifar10([8, 27], root=shared_data).pixels()
    assert torch.equal(next(iter(data.train_dataloader()))[0], expected)
    expected = cifar10(range(4), split="test", root=shared_data).pixels()
    assert torch.equal(data.probes, expected)


def test_missing_datasets_are_missed_when_they_are_read(tmp_path):
    with pytest.raises(DataMissingError, match="no MNIST under"):
        MNIST(root=str(tmp_path)).setup("fit")


def test_drawn_images_and_held_out_ones_differ():
    data = Drawn("normal", count=4, shape=(1, 2, 2), held_out=4)
    data.setup("fit")
    assert data.examples.shape == data.probes.shape == (4, 1, 2, 2)
    assert not torch.equal(data.examples, data.probes)
    none = Drawn(held_out=0)
    assert none.val_dataloader() == []


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("names", [("members", "starts"), ("examples", "probes"), ("mine", None)])
def test_images_of_ones_own(tmp_path, suffix, names):
    images = (torch.rand(5, 1, 2, 2) * 255).byte()
    arrays = {name: images for name in names if name}
    path = tmp_path / f"images{suffix}"
    save_file({k: v.clone() for k, v in arrays.items()}, path) if suffix != ".npz" else np.savez(
        path, **{k: v.numpy() for k, v in arrays.items()}
    )
    data = Images(str(path))
    data.setup("fit")
    assert torch.equal(data.examples, images.float() / 255)
    assert (data.probes is None) == (names[1] is None)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"members": np.array([{}], dtype=object)},
            r"no readable file of plain arrays: Object arrays",
        ),
        ({"members": np.arange(4).reshape(2, 2)}, r"members of .* is torch\.int64; store 8 bits"),
        ({"members": np.zeros(4, np.float32)}, r"has shape \(4,\), no images"),
        ({"members": np.full((2, 2), np.nan, np.float32)}, r"holds NaN or infinity"),
        ({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, r"holds a, b; name the training images members"),
    ],
)
def test_files_that_hold_no_images_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "images.npz", **arrays, allow_pickle=True)
    with pytest.raises(CorruptCheckpointError, match=message):
        Images(str(tmp_path / "images.npz")).setup("fit")


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(DataMissingError, match="no images at"):
        Images(str(tmp_path / "no.npz")).setup("fit")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(CorruptCheckpointError, match="no readable safetensors file"):
        Images(str(tmp_path / "x.safetensors")).setup("fit")
    with pytest.raises(ValueError, match=r"from a \.safetensors or \.npz file"):
        Images("x.pkl")


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "5:5", "3,-1", "-2:3", "0:3:0", "1:2,3"])
def test_indices_that_make_no_sense(text):
    with pytest.raises(ValueError, match="indices"):
        parse_indices(text)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"steps_per_epoch": 0}])
def test_counts_are_checked(options):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        MNIST20(**options)
    with pytest.raises(ValueError, match="images are drawn from"):
        Drawn("gauss")
    with pytest.raises(ValueError, match="at least one image"):
        Drawn(count=0)
