"""Test that images are read from files, folders and data modules, and refused with advice."""

import io
import os
import struct
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.auditing import examples_of, read_data
from memzoo.errors import AuditInputError, CorruptCheckpointError


@pytest.mark.parametrize("source", ["images.npz", "images.safetensors", "folder"])
def test_files_and_folders_give_the_same_images(project, source):
    data = read_data(source)
    wanted = np.load("images.npz")
    for name in ("members", "controls", "starts"):
        expected = torch.from_numpy(wanted[name]).float() / 255
        torch.testing.assert_close(getattr(data, name), expected)
    few = read_data(source, count=4, starts=2)
    assert len(few.starts) == 2
    assert len(few.controls) == 4


def test_the_images_of_a_data_module_become_disjoint_groups(project):
    data = read_data("theirs.Images", count=8, starts=7)

    def numbers(images):
        return set(images[:, 0, 0, 0].mul(30).round().int().tolist())

    members = numbers(data.members)
    controls = numbers(data.controls)
    starts = numbers(data.starts)
    assert members <= set(range(10))
    assert controls | starts <= set(range(10, 30))
    assert not controls & starts
    assert [len(members), len(controls), len(starts)] == [8, 8, 7]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.npz", r"no data at .*absent.npz; check the name"),
        ("nowhere", r"no data at .*nowhere; give a .safetensors or .npz file"),
        ("theirs.py", r"neither .safetensors nor .npz"),
        ("theirs.Net", r"no LightningDataModule class"),
        ("theirs.Absent", r"has no 'Absent'"),
        ("sys.Absent", r"sys \(built in\) has no 'Absent'"),
        ("not_there.Images", r"No module named 'not_there'"),
        ("empty", r"has none of the subfolders members/"),
        ("odd.npz", r"holds train; an audit takes members"),
        ("only.npz", r"holds no members"),
        ("whole.npz", r"images are torch.int64; store them as uint8"),
    ],
)
def test_data_that_cannot_be_read_are_refused_with_advice(project, source, message):
    (project / "empty").mkdir()
    np.savez("odd.npz", train=np.zeros((2, 3)))
    np.savez("only.npz", starts=np.zeros((2, 3)))
    np.savez("whole.npz", members=np.zeros((2, 3), np.int64))
    with pytest.raises(AuditInputError, match=message):
        read_data(source)


def test_pickles_and_damaged_files_are_refused(project):
    np.savez("objects.npz", members=np.array([print, None], object))
    # the first bytes of a sound file
    (project / "cut.npz").write_bytes((project / "images.npz").read_bytes()[:90])
    (project / "cut.safetensors").write_bytes(b"12345678{")
    for name in ("objects.npz", "cut.npz", "cut.safetensors"):
        with pytest.raises(CorruptCheckpointError, match=r"no readable"):
            read_data(name)
    (project / "folder/members/9.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(CorruptCheckpointError, match=r"9.png is no readable PNG or JPEG"):
        read_data("folder")


def chunk(kind, content):
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, extra=b""):
    """Return a grey PNG file of this stated size, without the pixels for it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def saved(image_format, name="L", size=(4, 4)):
    """Return an image file of this format."""
    file = io.BytesIO()
    Image.new(name, size).save(file, image_format)
    return file.getvalue()


def repeat_scan(count):
    """Return a JPEG whose last scan, which goes through the whole image, stands there many times."""
    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    begin = content.rindex(b"\xff\xda")
    return content[:begin] + content[begin:-2] * count + content[-2:]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
PICTURES = {
    "60000 x 60000": (png(60000, 60000), r"a\.png is no readable PNG or JPEG: .*decompression bomb"),
    "9000 x 9000": (png(9000, 9000), r"members has \d+ bytes that would expand to 324,000,000"),
    "11000 x 11000": (png(11000, 11000), r"members has \d+ bytes that would expand to 484,000,000"),
    "no pixels": (png(0, 4), "is no readable PNG or JPEG"),
    "too few pixels": (png(40, 40), "is no readable PNG or JPEG"),
    "a long text": (
        png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))),
        "is no readable PNG or JPEG: Decompressed data too large",
    ),
    "cut": (saved("PNG")[:44], "is no readable PNG or JPEG"),
    "cut JPEG": (saved("JPEG")[:200], "is no readable PNG or JPEG"),
    "many scans": (repeat_scan(200), "has more than 100 scans, each as large as the image"),
    "EPS": (EPS, "is no readable PNG or JPEG"),
    "GIF": (saved("GIF"), "is no readable PNG or JPEG"),
    "PDF": (saved("PDF"), "is no readable PNG or JPEG"),
    "TIFF": (saved("TIFF"), "is no readable PNG or JPEG"),
    "nothing": (b"", "is no readable PNG or JPEG"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_that_would_do_harm_are_refused(tmp_path, kind):
    content, message = PICTURES[kind]
    (tmp_path / "members").mkdir()
    (tmp_path / "members/a.png").write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=message) as caught:
        read_data(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_picture_that_is_no_file_is_refused_without_waiting(tmp_path, kind):
    (tmp_path / "members").mkdir()
    make = {"folder": os.mkdir, "pipe": os.mkfifo}[kind]
    make(tmp_path / "members/a.png")
    with pytest.raises(CorruptCheckpointError, match=rf"a\.png is a {kind} in the place of a file"):
        read_data(str(tmp_path))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (np.float32(1), r"members of .*x\.npz has shape \(\), no images"),
        (np.zeros(5, np.float32), r"has shape \(5,\), no images"),
        (np.zeros((0, 4, 4), np.float32), r"has shape \(0, 4, 4\), no images"),
        (np.zeros((3, 0, 4), np.uint8), r"has shape \(3, 0, 4\), no images"),
        (np.zeros((2, 4), np.complex64), r"images are torch\.complex64; store them as"),
        (np.zeros((2, 4), bool), r"images are torch\.bool; store them as"),
    ],
)
@pytest.mark.parametrize("name", ["members", "starts"])
def test_arrays_that_are_no_images_are_refused(tmp_path, members, message, name):
    np.savez(tmp_path / "x.npz", **{"members": np.zeros((2, 4), np.float32), name: members})
    with pytest.raises(AuditInputError, match=message.replace("members", name)):
        read_data(str(tmp_path / "x.npz"))


def test_images_of_several_sizes_are_refused(project):
    Image.new("L", (9, 9)).save("folder/members/9.png")
    with pytest.raises(AuditInputError, match=r"\(1, 9, 9\).* must have one size"):
        read_data("folder")


def test_the_images_of_a_checkpoint_become_disjoint_groups():
    module = nn.Identity()
    assert examples_of(module).members is None
    module.examples = torch.zeros(3, 2)
    module.probes = torch.arange(10.0)[:, None].expand(-1, 2)
    data = examples_of(module, starts=4)
    assert len(data.members) == 3
    assert len(data.controls) == 3
    assert len(data.starts) == 4
    assert not set(data.controls[:, 0].tolist()) & set(data.starts[:, 0].tolist())


def test_the_numbers_of_images_must_be_positive():
    for settings in ({"count": 0}, {"starts": 0}):
        with pytest.raises(AuditInputError, match="count and starts must be at least 1, got"):
            read_data("x.npz", **settings)


def test_a_module_may_carry_examples_alone():
    module = nn.Identity()
    assert examples_of(module).members is None
    module.examples = torch.rand(3, 2)
    found = examples_of(module, count=2)
    assert torch.equal(found.members, module.examples[[0, 2]])
    assert found.controls is None
    assert found.starts is None


def test_images_of_a_folder_are_spread_evenly_and_share_their_channels(tmp_path):
    folder = tmp_path / "members"
    folder.mkdir()
    with pytest.raises(AuditInputError, match="holds no images; put PNG or JPEG files there"):
        read_data(str(tmp_path))
    for name, value in (("a", 0), ("b", 51), ("c", 255)):
        Image.fromarray(np.full((2, 3), value, dtype=np.uint8)).save(folder / f"{name}.png")
    assert read_data(str(tmp_path)).members.shape == (3, 1, 2, 3)
    found = read_data(str(tmp_path), count=2).members
    assert found[:, 0, 0, 0].tolist() == [0, 1]
    Image.fromarray(np.full((2, 3, 3), 51, dtype=np.uint8)).save(folder / "b.png")
    found = read_data(str(tmp_path)).members
    assert found.shape == (3, 3, 2, 3)
    assert found[1].unique().tolist() == pytest.approx([0.2])
    Image.fromarray(np.full((2, 3), 999, dtype=np.uint16)).save(folder / "b.png")
    with pytest.raises(AuditInputError, match=r"b\.png has more than 8 bits a pixel"):
        read_data(str(tmp_path))


class Bare(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.arange(6.0)[:, None]))


class WithTest(Bare):
    staged = ()

    def setup(self, stage):
        self.staged = (*self.staged, stage)

    def test_dataloader(self):
        assert self.staged == ("fit", "test")
        return DataLoader(TensorDataset(torch.arange(10.0, 20.0)[:, None]))


def test_held_out_images_come_from_the_test_where_there_is_no_validation(monkeypatch):
    module = SimpleNamespace(Bare=Bare, WithTest=WithTest, Net=nn.Identity)
    monkeypatch.setitem(sys.modules, "theirs", module)
    found = read_data("theirs.Bare", count=3)
    assert len(found.members.unique()) == 3
    assert set(found.members.flatten().tolist()) < set(range(6))
    assert found.controls is None
    assert found.starts is None
    found = read_data("theirs.WithTest", count=3, starts=3)
    held_out = {*found.controls.flatten().tolist(), *found.starts.flatten().tolist()}
    assert len(held_out) == 6
    assert held_out < set(range(10, 20))
    assert len(found.controls) == 3
    with pytest.raises(AuditInputError, match=r"theirs\.Net is no LightningDataModule class"):
        read_data("theirs.Net")
