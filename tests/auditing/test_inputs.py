"""--data, --checkpoint and --model: read without running what a file holds, refused with what to do."""

import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.auditing import examples_of, load_module, load_self_map, read_data
from memzoo.cli import main
from memzoo.cli.auditing import parse_shape
from memzoo.errors import AuditInputError, CheckpointMissingError, CorruptCheckpointError, UsageError

CODE = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset


class Net(LightningModule):
    def __init__(self, size=12):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(size, size)

    def forward(self, x):
        return self.net(x.flatten(1)).reshape(x.shape)


class Pair(Net):
    def forward(self, x):
        return super().forward(x), "code"


class Images(LightningDataModule):
    def setup(self, stage):
        x = torch.arange(30.0)[:, None, None, None].expand(-1, 1, 3, 4) / 30
        self.train, self.val = TensorDataset(x[:10]), TensorDataset(x[10:])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=5, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=5)


class Streamed(Images):
    def val_dataloader(self):
        return []


def reconstruction(module, x):
    return module(x)[0]


NUMBER = 3
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to work in with somebody's module, a checkpoint of it and images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    load_self_map("theirs.Net")  # imports it
    kind = sys.modules["theirs"].Net
    trainer = Trainer(
        max_epochs=0, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu"
    )
    trainer.strategy.connect(kind())
    trainer.save_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    images = {
        name: np.random.default_rng(i).integers(0, 256, (6, 1, 3, 4), np.uint8)
        for i, name in enumerate(("members", "controls", "starts"))
    }
    np.savez(tmp_path / "images.npz", **images)
    save_file({name: torch.from_numpy(x) for name, x in images.items()}, tmp_path / "images.safetensors")
    for name, batch in images.items():
        (tmp_path / "folder" / name).mkdir(parents=True)
        for i, image in enumerate(batch):
            Image.fromarray(image[0]).save(tmp_path / "folder" / name / f"{i}.png")
    yield tmp_path
    sys.modules.pop("theirs", None)


@pytest.mark.parametrize("source", ["images.npz", "images.safetensors", "folder"])
def test_files_and_folders_give_the_same_images(project, source):
    data = read_data(source)
    wanted = np.load("images.npz")
    for name in ("members", "controls", "starts"):
        torch.testing.assert_close(getattr(data, name), torch.from_numpy(wanted[name]).float() / 255)
    assert len(read_data(source, count=4, starts=2).starts) == 2
    assert len(read_data(source, count=4, starts=2).controls) == 4


def test_of_a_data_module_members_controls_and_starts_are_disjoint(project):
    data = read_data("theirs.Images", count=8, starts=7)
    values = [set(x[:, 0, 0, 0].mul(30).round().int().tolist()) for x in (data.members, data.controls, data.starts)]
    assert values[0] <= set(range(10))
    assert values[1] | values[2] <= set(range(10, 30))
    assert not values[1] & values[2]
    assert [len(v) for v in values] == [8, 8, 7]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.npz", r"no data at .*absent.npz; check the name"),
        ("nowhere", r"no data at .*nowhere; give a .safetensors or .npz file"),
        ("theirs.py", r"neither .safetensors nor .npz"),
        ("theirs.Net", r"no LightningDataModule class"),
        ("theirs.Streamed", r"its loaders must have datasets with a length"),
        ("theirs.Absent", r"has no 'Absent'"),
        ("sys.Absent", r"sys \(built in\) has no 'Absent'"),
        ("not_there.Images", r"No module named 'not_there'"),
        ("empty", r"has none of the subfolders members/"),
        ("odd.npz", r"holds train; an audit takes members"),
        ("only.npz", r"holds no members"),
        ("whole.npz", r"images are torch.int64; store them as uint8"),
    ],
)
def test_data_that_cannot_be_taken(project, source, message):
    (project / "empty").mkdir()
    np.savez("odd.npz", train=np.zeros((2, 3)))
    np.savez("only.npz", starts=np.zeros((2, 3)))
    np.savez("whole.npz", members=np.zeros((2, 3), np.int64))
    with pytest.raises(AuditInputError, match=message):
        read_data(source)


def test_pickles_and_damage_are_refused(project):
    np.savez("objects.npz", members=np.array([Booby(), None], object))
    (project / "cut.npz").write_bytes((project / "images.npz").read_bytes()[:90])
    (project / "cut.safetensors").write_bytes(b"12345678{")
    for name in ("objects.npz", "cut.npz", "cut.safetensors"):
        with pytest.raises(CorruptCheckpointError, match=r"no readable"):
            read_data(name)
    (project / "folder/members/9.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(CorruptCheckpointError, match=r"9.png is no readable PNG or JPEG"):
        read_data("folder")


def test_images_of_several_sizes_are_refused(project):
    Image.new("L", (9, 9)).save("folder/members/9.png")
    with pytest.raises(AuditInputError, match=r"\(1, 9, 9\).* must have one size"):
        read_data("folder")


class Booby:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_a_checkpoint_that_could_run_code_is_not_opened(project):
    content = torch.load("run.ckpt", weights_only=True)
    torch.save(content | {"hyper_parameters": {"size": Booby()}}, "bad.ckpt")
    with pytest.raises(CorruptCheckpointError, match=r"could run any code and were not opened"):
        load_module("bad.ckpt", "theirs.Net")
    (project / "cut.ckpt").write_bytes((project / "run.ckpt").read_bytes()[:200])
    with pytest.raises(CorruptCheckpointError, match=r"cut.ckpt"):
        load_module("cut.ckpt", "theirs.Net")


@pytest.mark.parametrize(
    ("checkpoint", "model", "error", "message"),
    [
        ("absent.ckpt", "theirs.Net", CheckpointMissingError, r"no checkpoint at .*absent.ckpt"),
        ("https://example.org/run.ckpt", "theirs.Net", AuditInputError, r"not fetched from the network"),
        ("run.ckpt", None, AuditInputError, r"name it: --model"),
        ("run.ckpt", "Net", AuditInputError, r"--model takes package.module.Name, got 'Net'"),
        ("run.ckpt", "theirs.Not", AuditInputError, r"has no 'Not'"),
        ("run.ckpt", "theirs.NUMBER", AuditInputError, r"no LightningModule class but a int"),
        ("run.ckpt", "theirs.Images", AuditInputError, r"no LightningModule class but the class Images"),
    ],
)
def test_modules_that_cannot_be_had(project, checkpoint, model, error, message):
    with pytest.raises(error, match=message):
        load_module(checkpoint, model)


def test_the_weights_are_those_of_the_checkpoint(project):
    module = load_module("run.ckpt", "theirs.Net")
    assert not module.training
    assert module.net.weight.equal(torch.load("run.ckpt", weights_only=True)["state_dict"]["net.weight"])


def test_the_examples_of_a_module_become_disjoint_parts():
    module = nn.Identity()
    assert examples_of(module).members is None
    module.examples, module.probes = torch.zeros(3, 2), torch.arange(10.0)[:, None].expand(-1, 2)
    data = examples_of(module, starts=4)
    assert (len(data.members), len(data.controls), len(data.starts)) == (3, 3, 4)
    assert not set(data.controls[:, 0].tolist()) & set(data.starts[:, 0].tolist())


def test_shapes():
    assert parse_shape("3,32,32") == (3, 32, 32)
    for wrong in ("3,,2", "0,2"):
        with pytest.raises(UsageError, match=rf"--shape takes whole numbers such as 1,28,28, got '{wrong}'"):
            parse_shape(wrong)


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_report(project, capsys):
    assert (
        main(["audit", "--checkpoint", "run.ckpt", "--model", "theirs.Net", "--data", "images.npz", "--steps", "5"])
        == 0
    )
    assert "report.html" in capsys.readouterr().out
    content = json.loads((project / "audit/report.json").read_text())
    assert (content["module"], content["settings"]["steps"]) == ("Net", 5)


def test_the_command_needs_a_self_map_where_forward_is_none(project, capsys):
    arguments = ["audit", "--checkpoint", "run.ckpt", "--model", "theirs.Pair", "--data", "images.npz", "--steps", "5"]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "On the command line: --self-map package.function." in error
    assert len(error.splitlines()) == 1
    assert main([*arguments, "--self-map", "theirs.reconstruction"]) == 0


def test_the_command_audits_a_checkpoint_of_the_zoo(tmp_path, capsys):
    assert main(["audit", "--checkpoint", "mnist20-fc14x128", "--out", str(tmp_path / "a")]) == 0
    assert "20 training images can be pulled out by iteration; 0 of 20 controls." in capsys.readouterr().out


def test_the_command_finds_attractors_from_noise(project):
    assert (
        main(["audit", "--checkpoint", "run.ckpt", "--model", "theirs.Net", "--shape", "1,3,4", "--starts", "9"]) == 0
    )
    assert json.loads((project / "audit/report.json").read_text())["members"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model", "theirs.Net"], 2, r"needs --data, or --shape"),
        (["--model", "theirs.Net", "--shape", "a"], 2, r"--shape takes whole numbers"),
        (["--model", "theirs.Net", "--eps", "-1"], 2, r"--eps takes a finite number above 0"),
        (["--model", "theirs.Net", "--steps", "0"], 2, r"whole numbers above 0"),
        (["--model", "theirs.Net", "--data", "absent.npz"], 1, r"no data at"),
        (["--model", "theirs.Net", "--data", "mixed.npz"], 1, r"must be points of one space"),
        (["--model", "theirs.Net", "--data", "images.npz", "--out", "folder"], 1, r"is of no report"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(project, capsys, arguments, status, message):
    np.savez(
        "mixed.npz", members=np.zeros((2, 1, 3, 4)) + np.arange(2.0)[:, None, None, None], controls=np.ones((2, 5))
    )
    assert main(["audit", "--checkpoint", "run.ckpt", *arguments]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memzoo: ")
    assert re.search(message, line)


def test_numbers_of_images_are_positive():
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


def test_images_are_spread_grey_beside_colour_and_of_8_bits(tmp_path):
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
    assert found.members.flatten().tolist() == [0, 2, 5]
    assert found.controls is None
    assert found.starts is None
    found = read_data("theirs.WithTest", count=3, starts=3)
    assert sorted([*found.controls.flatten().tolist(), *found.starts.flatten().tolist()]) == [10, 12, 14, 15, 17, 19]
    assert len(found.controls) == 3
    with pytest.raises(AuditInputError, match=r"theirs\.Net is no LightningDataModule class"):
        read_data("theirs.Net")
