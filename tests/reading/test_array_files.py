"""Arrays are read as they were saved; files that declare more than they hold are refused before memory is taken."""

import io
import json
import os
import socket
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memzoo._reading import read_arrays
from memzoo.errors import CorruptCheckpointError, StorageError

ARRAYS = {"members": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "starts": np.linspace(0, 1, 6).reshape(2, 3)}


@pytest.mark.parametrize("kind", ["stored", "packed", "safetensors", "fortran"])
def test_arrays_are_read_as_they_were_saved(tmp_path, kind):
    path = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.npz")
    match kind:
        case "stored":
            np.savez(path, **ARRAYS)
        case "packed":
            np.savez_compressed(path, **ARRAYS)
        case "fortran":
            np.savez(path, **{name: np.asfortranarray(array) for name, array in ARRAYS.items()})
        case _:
            save_file({name: torch.from_numpy(array) for name, array in ARRAYS.items()}, path)
    found = read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name].numpy(), array)
        assert found[name].numpy().dtype == array.dtype


def test_images_of_one_colour_may_be_packed_tightly(tmp_path):
    black = np.zeros((20, 3, 512, 512), np.uint8)  # 16 MB in a few kB
    np.savez_compressed(tmp_path / "x.npz", members=black)
    assert not read_arrays(tmp_path / "x.npz")["members"].any()


def npy(shape, content=b"", dtype="|u1"):
    """Return a .npy file of this stated shape and type."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def write_npz(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)


def write_header(text):
    """Return a .npy file with this text in the place of its header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


CUT = npy((2, 3), bytes(6))
NPZ = {
    "terabytes": ([("members.npy", npy((10**12,)))], "has 0 bytes, and declares 1,000,000,000,000"),
    "terabytes in one number more": ([("a.npy", npy((2**20, 2**20), bytes(9)))], "has 9 bytes, and declares"),
    "negative": ([("a.npy", npy((-1, 5), bytes(5)))], "declares -5"),
    "too few": ([("a.npy", CUT[:-1])], r"x\.npz is no readable file of plain arrays: .* has 5 bytes, and declares 6"),
    "too many": ([("a.npy", CUT + b"x")], "has 7 bytes, and declares 6"),
    "objects": ([("a.npy", npy((1,), bytes(8), "|O"))], "Object arrays cannot be loaded"),
    "texts": ([("a.npy", npy((1,), bytes(8), "<U2"))], "'a.npy' holds <U2, no numbers"),
    "two gigabytes in no rows": ([("a.npy", npy((0,), b"", "|V2000000000"))], r"holds \|V2000000000, no numbers"),
    "a header that no parser takes": ([("a.npy", write_header("-" * 9000 + "1"))], "no readable file of plain arrays"),
    "a long name": ([("x" * 60000 + ".npy", npy((1,), b"", "|O"))], "no readable file of plain arrays"),
    "fields": ([("a.npy", npy((1,), bytes(8), [("x", "<f4"), ("y", "<f4")]))], "no readable file of plain arrays"),
    "no array": ([("a.npy", b"nothing of the kind")], "the magic string is not correct"),
    "empty member": ([("a.npy", b"")], "no readable file of plain arrays"),
    "many": ([(f"{number}.npy", CUT) for number in range(101)], "holds 101 arrays, more than 100"),
}


@pytest.mark.parametrize("kind", NPZ)
def test_npz_files_that_are_not_as_numpy_writes_them_are_refused(tmp_path, kind):
    members, message = NPZ[kind]
    path = tmp_path / "x.npz"
    write_npz(path, members)
    with pytest.raises(CorruptCheckpointError, match=message) as caught:
        read_arrays(path)
    assert len(str(caught.value)) < 1200


def test_a_list_of_very_many_members_is_not_read(tmp_path):
    count = 100_000
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, *[0] * 7, 1, *[0] * 6) + b"a"
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65535, count * len(entry), 0, 0)
    path = tmp_path / "x.npz"
    path.write_bytes(entry * count + end)
    with pytest.raises(CorruptCheckpointError, match="the list of what it holds has 4,700,000 bytes, more than"):
        read_arrays(path)


def test_a_small_file_that_expands_to_very_much_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "x.npz"
    block = bytes(2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("members.npy", "w") as file:
        file.write(npy((256 * 2**20,)))
        for _ in range(256):
            file.write(block)
    tracemalloc.start()
    with pytest.raises(CorruptCheckpointError, match=r"has 2\d\d,\d\d\d bytes that would expand to 268,435,\d\d\d"):
        read_arrays(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("damage", ["cut", "flipped", "other method", "encrypted", "twice", "no zip", "empty"])
def test_damaged_archives_are_refused(tmp_path, damage):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, **ARRAYS)
    content = bytearray(path.read_bytes())
    match damage:
        case "cut":
            del content[len(content) // 2 :]
        case "flipped":
            content[70] ^= 255
        case "other method":
            write_npz(path, [("a.npy", CUT)], zipfile.ZIP_LZMA)
            content = path.read_bytes()
        case "encrypted":
            place = content.rindex(b"PK\x01\x02")
            content[place + 8] |= 1
        case "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                write_npz(path, [("a.npy", CUT), ("a.npy", CUT)])
            content = path.read_bytes()
        case "no zip":
            content = npy((2, 3), bytes(6))
        case "empty":
            content = b""
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=r"x\.npz is no readable file of plain arrays"):
        read_arrays(path)


def write_safetensors(path, header, body=bytes(8)):
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)


TENSOR = '{"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}'
HEADERS = {
    "twice": (f'{{"a": {TENSOR}, "a": {TENSOR}}}', "key 'a' stands twice"),
    "digits": ('{"a": {"dtype": "U8", "shape": [%s], "data_offsets": [0, 8]}}' % ("9" * 5000), "5000 digits"),
    "terabytes": ('{"a": {"dtype": "U8", "shape": [10000000000000], "data_offsets": [0, 8]}}', ""),
    "deep": ('{"a": ' * 3000 + "1" + "}" * 3000, ""),
    "surrogate": (f'{{"\\ud800": {TENSOR}}}', "surrogate pair"),
    "values": ('{"a": [' + "0," * 200_001 + "0]}", "more than 200,000 values"),
    "large": (" " * 8_000_001, "its header has 8,000,001 bytes, more than 8,000,000"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_beyond_the_limits_is_refused(tmp_path, kind):
    header, message = HEADERS[kind]
    path = tmp_path / "x.safetensors"
    write_safetensors(path, header.encode())
    with pytest.raises(CorruptCheckpointError, match=rf"x\.safetensors is no readable safetensors file .*{message}"):
        read_arrays(path)


def test_the_header_of_the_test_itself_is_sound(tmp_path):
    write_safetensors(tmp_path / "x.safetensors", json.dumps({"a": json.loads(TENSOR)}).encode())
    assert read_arrays(tmp_path / "x.safetensors")["a"].tolist() == [0] * 8


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "missing"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    path = tmp_path / f"x{suffix}"
    with socket.socket(socket.AF_UNIX) as end:
        match kind:
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "socket":
                end.bind(path.name)
            case "device":
                path.symlink_to("/dev/zero")
        wanted = StorageError if kind == "missing" else CorruptCheckpointError
        with pytest.raises(wanted, match="No such file" if kind == "missing" else f"is a {kind} in the place"):
            read_arrays(path)
