"""A file that is not what it should be is refused before it is used."""

import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import memzoo
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError
from memzoo.zoo.loading import building
from memzoo.zoo.registry.files import check_file, check_tensors, describe, read_config, read_tensors

CHANGES = {
    "missing": (lambda t: t.pop("bias"), r"missing \['bias'\], unexpected nothing"),
    "extra": (lambda t: t.update(more=torch.zeros(1)), r"missing nothing, unexpected \['more'\]"),
    "shape": (
        lambda t: t.update(weight=torch.zeros(2, 3)),
        r"weight is \(2, 3\) torch.float32, the network needs \(3, 2\)",
    ),
    "float64": (lambda t: t.update(bias=t["bias"].double()), r"bias is \(3,\) torch.float64, .* torch.float32"),
    "bfloat16": (lambda t: t.update(bias=t["bias"].bfloat16()), r"bias is \(3,\) torch.bfloat16"),
    "nan": (lambda t: t["bias"].__setitem__(1, torch.nan), "bias holds NaN or infinity"),
    "infinity": (lambda t: t["weight"].__setitem__((0, 0), -torch.inf), "weight holds NaN or infinity"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_tensors_must_fit_the_network_in_name_shape_and_type_and_be_finite(name, tmp_path):
    model = nn.Linear(2, 3)
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    check_tensors(model, tensors, tmp_path / "w")
    change, message = CHANGES[name]
    change(tensors)
    with pytest.raises(CorruptCheckpointError, match=message):
        check_tensors(model, tensors, tmp_path / "w")


def test_only_float32_may_be_stored_narrower():
    def check_halved(model):
        halved = {name: value.half() for name, value in model.state_dict().items()}
        check_tensors(model, halved, "w")

    check_halved(nn.Linear(2, 3))
    with pytest.raises(CorruptCheckpointError, match=r"num_batches_tracked is \(\) torch.float16"):
        check_halved(nn.BatchNorm1d(2))
    with pytest.raises(CorruptCheckpointError, match=r"torch.float16, the network needs .* torch.float64"):
        check_halved(nn.Linear(2, 3).double())


@pytest.fixture
def change_registered(small):
    """Return a function that changes the registered weights and their hash, so that only their content is wrong."""
    memzoo.register(small)
    folder = small.parent / "checkpoints/small-fc"

    def change_weights(change):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        old = memzoo.info("small-fc").files["model.safetensors"]
        new = describe(folder / "model.safetensors")
        text = small.read_text().replace(old.sha256, new.sha256)
        small.write_text(text.replace(f"bytes: {old.bytes}", f"bytes: {new.bytes}"))

    return change_weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("net.1.bias"), r"missing \['net.1.bias'\]"),
        (lambda t: t.update(more=torch.zeros(1)), r"unexpected \['more'\]"),
        (lambda t: t.update({"net.1.bias": t["net.1.bias"].double()}), r"net.1.bias is \(4,\) torch.float64"),
        (lambda t: t["net.1.bias"].fill_(torch.nan), "net.1.bias holds NaN or infinity"),
    ],
    ids=["missing", "extra", "type", "nan"],
)
def test_registered_weights_are_checked_like_those_of_a_stranger(change_registered, change, message):
    memzoo.load("small-fc")
    change_registered(change)
    with pytest.raises(CorruptCheckpointError, match=message):
        memzoo.load("small-fc")


@pytest.mark.parametrize("change", [lambda t: t.pop("net.1.bias"), lambda t: t.update(more=torch.zeros(1))])
def test_torch_refuses_other_names_too(change_registered, change, monkeypatch):
    change_registered(change)
    # without the check of memzoo, the strict loading of torch is the second guard
    monkeypatch.setattr(building, "check_tensors", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key"):
        memzoo.load("small-fc")


def test_a_file_must_have_the_size_and_the_hash_of_its_description(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"abc")
    wanted = describe(path)
    assert wanted.bytes == 3
    assert wanted.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    check_file(path, wanted)
    for content, message in ((b"ab", "has 2 bytes, .* says 3: cut short"), (b"abcd", "has 4 bytes, .*: another file")):
        path.write_bytes(content)
        with pytest.raises(CorruptCheckpointError, match=message):
            check_file(path, wanted)
    path.unlink()
    with pytest.raises(CheckpointMissingError, match="is missing; reinstall memzoo or restore"):
        check_file(path, wanted)


def test_a_change_that_leaves_size_and_times_is_found_by_reading_again(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"abc")
    wanted = describe(path)
    before = path.stat()
    check_file(path, wanted)
    path.write_bytes(b"abd")
    # a cache of hashes that trusts size and times would not see this change
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptCheckpointError, match=r"SHA-256 .* changed or damaged"):
        check_file(path, wanted)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # what a proxy or a login page sends in the place of a file
        (b"<!DOCTYPE html>", "is an HTML page"),
        (b"  \n<HTML lang", "is an HTML page"),
        (b"<?xml version", "is an HTML page"),
        (b"<head>", "is an HTML page"),
        # protocol 4 of pickle begins so, and so does the zip archive of torch.save
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00", "is a pickle"),
        (b"PK\x03\x04", "is a pickle"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"", "no readable safetensors file"),
        (b"nothing of the kind", "no readable safetensors file"),
    ],
)
def test_other_formats_in_the_place_of_tensors_are_named(tmp_path, content, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=message):
        read_tensors(path)


@pytest.mark.parametrize(("read", "name"), [(read_tensors, "model.safetensors"), (read_config, "config.json")])
def test_a_missing_file_is_named(read, name, tmp_path):
    message = rf"{name} is missing; a checkpoint has model\.safetensors, config\.json"
    with pytest.raises(CheckpointMissingError, match=message):
        read(tmp_path / name)
