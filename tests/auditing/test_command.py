"""Test the command ``memzoo audit``."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memzoo.cli import main
from memzoo.cli.auditing import parse_shape
from memzoo.errors import UsageError

NET = ("audit", "--checkpoint", "run.ckpt", "--model", "theirs.Net")


def test_a_shape_is_whole_numbers():
    assert parse_shape("3,32,32") == (3, 32, 32)
    for wrong in ("3,,2", "0,2"):
        with pytest.raises(UsageError, match=rf"--shape takes whole numbers such as 1,28,28, got '{wrong}'"):
            parse_shape(wrong)


def test_the_command_writes_a_report(project, capsys):
    assert main([*NET, "--data", "images.npz", "--steps", "5"]) == 0
    assert "report.html" in capsys.readouterr().out
    content = json.loads((project / "audit/report.json").read_text())
    assert content["module"] == "Net"
    assert content["settings"]["steps"] == 5


def test_the_command_needs_a_self_map_where_forward_is_not_one(project, capsys):
    arguments = ["audit", "--checkpoint", "run.ckpt", "--model", "theirs.Pair", "--data", "images.npz", "--steps", "5"]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "On the command line: --self-map package.function." in error
    assert len(error.splitlines()) == 1
    assert main([*arguments, "--self-map", "theirs.reconstruction"]) == 0


@pytest.fixture
def halves(project):
    """Write a network that reproduces images in [-1, 1], in a folder whose configuration may say so."""
    folder = project / "halves"
    folder.mkdir()
    members = 2 * torch.from_numpy(np.load("images.npz")["members"]).flatten(1) / 255 - 1
    # a projection onto the span of the members and of the constant 1
    basis = torch.cat([members, torch.ones(1, 12)]).T
    projection = basis @ torch.linalg.pinv(basis)
    save_file({"net.weight": projection, "net.bias": torch.zeros(12)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"size": 12}))
    return folder


def read_report(folder):
    return json.loads((folder / "audit/report.json").read_text())


@pytest.mark.parametrize("arguments", [["halves"], ["--checkpoint", "halves"], ["halves/model.safetensors"]])
def test_the_command_audits_a_folder_of_another_library(project, halves, capsys, arguments):
    assert main(["audit", *arguments, "--class", "theirs.Net", "--data", "images.npz", "--steps", "3"]) == 0
    report = read_report(project)
    assert report["module"] == "Net"
    assert not any("brought to" in note for note in report["notes"])


def test_the_command_brings_images_into_the_range_of_the_folder(project, halves, capsys):
    arguments = ["audit", "halves", "--class", "theirs.Net", "--steps", "3"]
    scaled = 2.0 * np.load("images.npz")["members"] / 255 - 1
    np.savez("scaled.npz", members=scaled.astype(np.float32))
    assert main([*arguments, "--data", "scaled.npz"]) == 0
    want = read_report(project)
    np.savez("members.npz", members=np.load("images.npz")["members"])
    # said on the command line, and by the folder
    assert main([*arguments, "--data", "members.npz", "--range", "-1", "1"]) == 0
    by_option = read_report(project)
    processor = {"do_normalize": True, "image_mean": [0.5], "image_std": [0.5]}
    (halves / "preprocessor_config.json").write_text(json.dumps(processor))
    assert main([*arguments, "--data", "members.npz"]) == 0
    by_folder = read_report(project)
    for found, source in ((by_option, "--range"), (by_folder, "preprocessor_config.json")):
        assert any("brought to values in [-1, 1], as " in note and source in note for note in found["notes"])
        assert found["settings"]["eps"] == pytest.approx(want["settings"]["eps"], rel=1e-5)
        for one, other in zip(found["members"], want["members"], strict=True):
            assert one["error"] == pytest.approx(other["error"], abs=1e-5)


def test_noise_is_drawn_in_the_range_and_the_shape_of_the_folder(project, halves, capsys):
    config = {"size": 12, "value_range": [2, 3], "in_channels": 1, "sample_size": [3, 4]}
    (project / "theirs_sized.py").write_text(
        "from theirs import Net as Base\n\n\n"
        "class Net(Base):\n    def __init__(self, size, in_channels, sample_size):\n        super().__init__(size)\n"
    )
    (halves / "config.json").write_text(json.dumps(config))
    assert main(["audit", "halves", "--class", "theirs_sized.Net", "--starts", "9", "--steps", "3"]) == 0
    report = read_report(project)
    assert report["settings"]["shape"] == [1, 3, 4]
    assert any("noise, uniform in [0, 1], brought to values in [2, 3]" in note for note in report["notes"])


def test_the_command_says_that_forward_needs_more_than_the_batch(project, halves, capsys):
    (project / "theirs_noisy.py").write_text(
        "from theirs import Net as Base\n\n\n"
        "class Net(Base):\n    def forward(self, x, sigma):\n        return x / sigma\n"
    )
    arguments = ["audit", "halves", "--class", "theirs_noisy.Net", "--data", "images.npz"]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"Net is no self-map .*Net needs more than the batch: sigma.*--self-map", line)


def test_the_command_audits_a_checkpoint_of_the_zoo(tmp_path, capsys):
    assert main(["audit", "--checkpoint", "mnist20-fc14x128", "--no-attacks", "--out", str(tmp_path / "a")]) == 0
    assert "20 training images can be pulled out by iteration; 0 of 20 controls." in capsys.readouterr().out


def test_the_command_finds_attractors_from_noise(project):
    assert main([*NET, "--shape", "1,3,4", "--starts", "9"]) == 0
    assert json.loads((project / "audit/report.json").read_text())["members"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, r"needs --data, or --shape"),
        (["--shape", "a"], 2, r"--shape takes whole numbers"),
        (["--eps", "-1"], 2, r"--eps takes a finite number above 0"),
        (["--steps", "0"], 2, r"whole numbers above 0"),
        (["--range", "1", "0"], 2, r"--range takes two finite numbers, the smaller first, got \[1.0, 0.0\]"),
        (["--range", "0", "inf"], 2, r"inf"),
        (["other.ckpt"], 2, r"audit takes one checkpoint; got other.ckpt and run.ckpt"),
        (["--data", "absent.npz"], 1, r"no data at"),
        (["--data", "mixed.npz"], 1, r"must be points of one space"),
        (["--data", "images.npz", "--out", "folder"], 1, r"is of no report"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(project, capsys, arguments, status, message):
    members = np.zeros((2, 1, 3, 4)) + np.arange(2.0)[:, None, None, None]
    np.savez("mixed.npz", members=members, controls=np.ones((2, 5)))
    assert main([*NET, *arguments]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memzoo: ")
    assert re.search(message, line)


def test_the_command_runs_the_attacks_unless_they_are_left_out(project, capsys):
    arguments = [*NET, "--data", "images.npz", "--steps", "5"]
    assert main(arguments) == 0
    with_attacks = capsys.readouterr().out
    assert read_report(project)["battery"]["epsilon"] is None
    assert main([*arguments, "--no-attacks"]) == 0
    without = capsys.readouterr().out
    assert read_report(project)["battery"] is None
    # what was printed before is printed as it was
    said = without.partition("\n  -> ")[0]
    assert with_attacks.startswith(said)
    assert "not estimable from 6 controls" in with_attacks[len(said) :]


def test_the_command_bounds_epsilon_and_takes_a_reference_where_it_is_told_so(project, capsys):
    arguments = [*NET, "--data", "images.npz", "--steps", "5", "--drawn-by-coin", "--delta", "1e-5"]
    assert main([*arguments, "--reference", "run.ckpt"]) == 0
    battery = read_report(project)["battery"]
    assert battery["epsilon"]["delta"] == 1e-5
    relative = next(attack for attack in battery["attacks"] if attack["name"] == "relative error")
    assert relative["auc"]["estimate"] == 0.5  # the network beside itself
    assert main([*arguments, "--no-attacks"]) == 2
    assert "--drawn-by-coin are of the attacks, which need controls" in capsys.readouterr().err
    assert main([*NET, "--data", "images.npz", "--delta", "2"]) == 2
    assert "--delta takes a number from 0 to below 1, got 2.0" in capsys.readouterr().err
