"""What is refused of a file before anything is made of it."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import memzoo
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, StorageError
from memzoo.zoo.loading import loader
from memzoo.zoo.registry.files import (
    check_file,
    check_tensors,
    check_writable,
    describe,
    read_config,
    read_tensors,
    written_aside,
)

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
def test_tensors_fit_the_network_in_name_shape_type_and_are_finite(name, tmp_path):
    model = nn.Linear(2, 3)
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    check_tensors(model, tensors, tmp_path / "w")
    change, message = CHANGES[name]
    change(tensors)
    with pytest.raises(CorruptCheckpointError, match=message):
        check_tensors(model, tensors, tmp_path / "w")


def test_only_float32_may_be_stored_narrower():
    model, whole = nn.Linear(2, 3), nn.BatchNorm1d(2)
    check_tensors(model, {name: value.half() for name, value in model.state_dict().items()}, "w")
    with pytest.raises(CorruptCheckpointError, match=r"num_batches_tracked is \(\) torch.float16"):
        check_tensors(whole, {name: value.half() for name, value in whole.state_dict().items()}, "w")
    with pytest.raises(CorruptCheckpointError, match=r"torch.float16, the network needs .* torch.float64"):
        check_tensors(model.double(), {name: value.half() for name, value in model.state_dict().items()}, "w")


@pytest.fixture
def registered(small):
    """Put other weights in place, hashed as the registry names them: only their content is wrong."""
    memzoo.register(small)
    folder = small.parent / "checkpoints/small-fc"

    def put(change):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        text = small.read_text()
        old = memzoo.info("small-fc").files["model.safetensors"]
        new = describe(folder / "model.safetensors")
        small.write_text(text.replace(old.sha256, new.sha256).replace(f"bytes: {old.bytes}", f"bytes: {new.bytes}"))

    return put


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
def test_registered_weights_are_checked_as_a_stranger_s_are(registered, change, message):
    memzoo.load("small-fc")
    registered(change)
    with pytest.raises(CorruptCheckpointError, match=message):
        memzoo.load("small-fc")


@pytest.mark.parametrize("change", [lambda t: t.pop("net.1.bias"), lambda t: t.update(more=torch.zeros(1))])
def test_torch_would_refuse_other_names_too(registered, change, monkeypatch):
    registered(change)
    monkeypatch.setattr(loader, "check_tensors", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key"):
        memzoo.load("small-fc")


def test_a_file_is_the_one_that_was_described(tmp_path):
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
    wanted, before = describe(path), path.stat()
    check_file(path, wanted)
    path.write_bytes(b"abd")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptCheckpointError, match=r"SHA-256 .* changed or damaged"):
        check_file(path, wanted, trust=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html>", "is an HTML page"),
        (b"  \n<HTML lang", "is an HTML page"),
        (b"<?xml version", "is an HTML page"),
        (b"<head>", "is an HTML page"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00", "is a pickle"),
        (b"PK\x03\x04", "is a pickle"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"", "no readable safetensors file"),
        (b"nothing of the kind", "no readable safetensors file"),
    ],
)
def test_other_formats_in_the_place_of_tensors(tmp_path, content, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=message):
        read_tensors(path)


def test_files_that_are_not_there(tmp_path):
    for read in (read_tensors, read_config):
        with pytest.raises(
            CheckpointMissingError, match=r"is missing; a checkpoint has model.safetensors, config.json"
        ):
            read(tmp_path / "x.safetensors")


def test_a_folder_takes_its_place_when_all_is_written(tmp_path):
    folder = tmp_path / "deep" / "made"
    for content in ("one", "two"):
        with written_aside(folder) as aside:
            assert aside.parent == folder.parent
            (aside / "file").write_text(content)
            assert not folder.exists() or (folder / "file").read_text() == "one"
        assert (folder / "file").read_text() == content
        assert folder.stat().st_mode & 0o777 == 0o755
        assert [path.name for path in folder.parent.iterdir()] == ["made"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "file").write_text("one")

    def write_half():
        with written_aside(folder) as aside:
            (aside / "file").write_text("two")
            raise KeyError("half of it was written")

    with pytest.raises(KeyError, match="half"):
        write_half()
    assert (folder / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_cannot_be_put_in_place_is_put_back(tmp_path, monkeypatch):
    folder, rename = tmp_path / "made", Path.rename
    folder.mkdir()
    (folder / "file").write_text("one")

    def rename_all_but(path, target):
        if path == aside:
            raise OSError("no room")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_all_but)
    with pytest.raises(OSError, match="no room"), written_aside(folder) as aside:
        (aside / "file").write_text("two")
    assert (folder / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_place_that_cannot_be_written(tmp_path):
    check_writable(tmp_path / "deep" / "new")
    assert (tmp_path / "deep" / "new").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be written .*; give another folder"):
        check_writable(tmp_path / "file" / "new")


@pytest.mark.parametrize(("read", "name"), [(read_tensors, "model.safetensors"), (read_config, "config.json")])
def test_a_missing_file_is_missed_by_name(read, name, tmp_path):
    with pytest.raises(CheckpointMissingError, match=rf"{name} is missing; a checkpoint has model\.safetensors"):
        read(tmp_path / name)
