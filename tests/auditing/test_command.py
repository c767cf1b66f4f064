"""Test the command ``memzoo audit``."""

import json
import re

import numpy as np
import pytest

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


def test_the_command_audits_a_checkpoint_of_the_zoo(tmp_path, capsys):
    assert main(["audit", "--checkpoint", "mnist20-fc14x128", "--out", str(tmp_path / "a")]) == 0
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
