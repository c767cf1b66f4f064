"""The checks of damaged files notice what must not be, and each kind of damage does something."""

import random
import re
import time

import pytest

from memzoo.errors import CorruptCheckpointError
from tools.oracles import fault_checks, limited
from tools.oracles.fault_checks import _describe, _find_truth, check_fault
from tools.oracles.fault_kinds import KINDS
from tools.oracles.fault_places import PLACES, Place


def read_and_write(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").write_bytes(b"x")


def refuse(folder):
    raise CorruptCheckpointError(f"{folder} is damaged")


def stumble(folder):
    raise KeyError(folder)


def take_memory(folder):
    return len(b"x" * 100 * 2**20)


def take_time(folder):
    begin = time.process_time()
    while time.process_time() - begin < fault_checks.SECONDS:
        pass


def wait(folder):
    time.sleep(60)


@pytest.mark.parametrize(
    ("use", "word", "text"),
    [
        (lambda folder: 5, "right", ""),
        (refuse, "refused", "is damaged"),
        (stumble, "raw", "KeyError"),
        (lambda folder: random.SystemRandom().random(), "wrong", "another result"),
        (read_and_write, "changed", "the folder is not as it was"),
        (take_memory, "wrong", r"1\d\d MB"),
        (take_time, "wrong", "0.2 s"),
        (wait, "wrong", "no end within 1 s"),
        (lambda folder: exit(), "wrong", "the process was killed"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_must_not_be_is_noticed(use, word, text, monkeypatch):
    monkeypatch.setitem(PLACES, "tried", Place("saved", "config.json", use))
    monkeypatch.setattr(fault_checks, "SECONDS", 0.2)
    monkeypatch.setattr(fault_checks, "MEGABYTES", 50.0)
    monkeypatch.setattr(fault_checks, "_find_truth", lambda name: 5)
    monkeypatch.setattr(limited, "PATIENCE_S", 1.0 if use is wait else 30.0)
    (found,) = check_fault(1, 1, "tried", "truncate")
    assert found.word == word
    assert re.search(text, found.detail)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("name", ["x.json", "x.yaml", "x.bin"])
def test_each_kind_of_damage_changes_the_file(kind, name, tmp_path):
    changed = 0
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "other").write_bytes(b"something else")
        path = folder / name
        path.write_text('{"a": {"b": [1, 2, 3]}, "c": "text"}')
        before = _describe(path), path.stat().st_mode
        KINDS[kind](random.Random(seed), path)
        changed += path.is_symlink() or (_describe(path), path.stat().st_mode) != before
        for one in (folder, path):
            if not one.is_symlink():
                one.chmod(0o700)
    assert changed >= 4


def test_undamaged_files_give_what_they_hold():
    assert _find_truth("weights") == _find_truth("config") == _find_truth("saved again")
    assert _find_truth("entry") == _find_truth("cache") == _find_truth("registered weights") != _find_truth("weights")
