"""A folder that ``save`` writes records size and hash of every file in it, and ``load`` compares them."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import memzoo
from memzoo.callbacks import KeepSteps
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, InvalidArgumentError
from memzoo.models import FullyConnected
from memzoo.zoo import add_hashes
from memzoo.zoo.registry.files import describe

WARNING = r"config\.json records no hashes of the files beside it.*memzoo\.zoo\.add_hashes"


@pytest.fixture
def saved(tmp_path):
    """Save a network with the weights of a step."""
    model = FullyConnected(shape=(1, 4, 4), depth=2, width=3).eval()
    keeper = KeepSteps([5])
    keeper.kept[5] = {name: value.clone() for name, value in model.state_dict().items()}
    keeper.epochs[5] = 1
    images = torch.rand(6, 1, 4, 4)
    return memzoo.save(model, tmp_path / "mine", examples=images[:2], probes=images[2:], keeper=keeper)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, Path.touch])
def test_what_is_no_file_is_not_recorded(saved, make):
    (saved / "history.json").unlink()
    make(saved / "history.json")
    with pytest.raises(CorruptCheckpointError, match=r"history\.json is (a folder|a pipe|empty)"):
        add_hashes(saved)


def test_every_file_is_recorded(saved):
    recorded = json.loads((saved / "config.json").read_text())["files"]
    assert recorded.keys() == {path.name for path in saved.iterdir()}
    for name in recorded.keys() - {"config.json"}:
        assert recorded[name] == describe(saved / name).model_dump()


@pytest.mark.parametrize("step", [None, 5])
@pytest.mark.parametrize("name", ["model", "examples", "step-5", "history"])
def test_the_lowest_bit_of_the_last_byte_of_any_file_is_noticed(saved, name, step):
    memzoo.load(f"local-dir:{saved}", step=step)
    path = next(saved.glob(f"{name}.*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=rf"{path.name} has SHA-256 .* changed or damaged"):
        memzoo.load(f"local-dir:{saved}", step=step)


def test_no_flipped_bit_of_the_configuration_is_loaded(saved):
    path = saved / "config.json"
    original = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(len(original), (60,), generator=generator).tolist():
        content = bytearray(original)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            memzoo.load(f"local-dir:{saved}")
        except CorruptCheckpointError:
            continue
        assert json.loads(content) == json.loads(original)  # only the space between values differs


def test_a_missing_file_and_one_that_is_not_recorded_are_named(saved):
    (saved / "step-5.safetensors").unlink()
    with pytest.raises(CheckpointMissingError, match=r"step-5\.safetensors is missing"):
        memzoo.load(f"local-dir:{saved}")
    content = json.loads((saved / "config.json").read_text())
    del content["files"]["model.safetensors"], content["files"]["step-5.safetensors"]
    (saved / "config.json").write_text(json.dumps(content))
    with pytest.raises(CorruptCheckpointError, match=r"its config\.json names no hash for model\.safetensors; add it"):
        memzoo.load(f"local-dir:{saved}")


def test_a_folder_of_before_loads_with_one_warning_until_its_hashes_are_added(saved):
    content = json.loads((saved / "config.json").read_text())
    del content["files"]
    (saved / "config.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=WARNING) as caught:
        before = memzoo.load(f"local-dir:{saved}")
    assert len(caught) == 1
    add_hashes(saved)
    after = memzoo.load(f"local-dir:{saved}")
    assert torch.equal(before(before.examples), after(after.examples))
    tensors = load_file(saved / "model.safetensors")
    save_file({**tensors, "net.1.bias": tensors["net.1.bias"] + 1e-6}, saved / "model.safetensors")
    with pytest.raises(CorruptCheckpointError, match=r"model\.safetensors has SHA-256"):
        memzoo.load(f"local-dir:{saved}")


def test_a_configuration_that_was_meant_to_change_can_be_recorded_again(saved):
    path = saved / "config.json"
    path.write_text(path.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    with pytest.raises(CorruptCheckpointError, match=r"another content than its own record .*memzoo\.zoo\.add_hashes"):
        memzoo.load(f"local-dir:{saved}")
    add_hashes(saved)
    assert memzoo.load(f"local-dir:{saved}").training_config.lr == 0.002


def test_a_folder_with_an_entry_has_its_hashes_there(small, tmp_path):
    folder = shutil.copytree(small.parent / "checkpoints/small-fc", tmp_path / "copy")
    shutil.copy(small, folder / "entry.yaml")
    with pytest.raises(InvalidArgumentError, match=r"has an entry\.yaml, which records its files"):
        add_hashes(folder)
    memzoo.load(f"local-dir:{folder}")
