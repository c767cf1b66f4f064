"""What callbacks find in processes that the Trainer launches is in the callbacks that the user has."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from memzoo.callbacks import KeepSteps
from memzoo.runs.launched import ORIGIN, return_results

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])
def test_history_tables_and_kept_weights_come_back(strategy, tmp_path):
    where = os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(SUPPORT / "launched_runs.py"), strategy, str(tmp_path / "found.pt")]
    done = subprocess.run(command, env=where, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(tmp_path / "found.pt")
    assert [row["step"] for row in found["history"]] == [2, 4]
    assert "The run ended: max_epochs=2 reached." in found["table"]
    assert found["examples_table"].count("\n") == 2 + 4
    last = found["history"][-1]
    assert found["again"] == pytest.approx({key: last[key] for key in found["again"]})
    assert sorted(found["kept"]) == [3, 4]
    assert all(torch.equal(value, found["kept"][4][name]) for name, value in found["weights"].items())
    assert found["clean"][0] == 4
    assert found["clean"][1].keys() == found["weights"].keys()
    assert found["adapter"]


class Launcher:
    def get_extra_results(self, trainer):
        return {"theirs": 1}


def send(callback):
    """Return what arrives in the main process, as bytes, of the results of a launched process."""
    launcher = Launcher()
    run = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher), callbacks=[callback, object()])
    return_results(run)
    return_results(run)  # of a second callback
    return pickle.dumps(launcher.get_extra_results(run))


def test_a_copy_in_a_spawned_process_knows_its_original(monkeypatch):
    original = KeepSteps([1])
    sent = pickle.dumps(original)
    main = os.getpid()
    monkeypatch.setattr("os.getpid", lambda: main + 1)
    monkeypatch.setattr("multiprocessing.parent_process", lambda: SimpleNamespace(pid=main))
    copied = pickle.loads(sent)
    copied.kept = {1: {"weight": torch.ones(2)}}
    copied.hook = lambda: None  # cannot be sent
    copied.epochs = {1: 1}
    original.part = SimpleNamespace(known=1, hook=len)
    copied.part = SimpleNamespace(known=2, hook=copied.hook)  # can be sent in part
    found = send(copied)
    monkeypatch.undo()
    assert pickle.loads(found)["theirs"] == 1
    assert original.kept[1]["weight"].tolist() == [1, 1]
    assert not hasattr(original, "hook")
    assert original.part == SimpleNamespace(known=2, hook=len)
    assert ORIGIN not in vars(original)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))])
def test_a_copy_in_the_same_process_is_an_object_of_its_own(copied):
    original = KeepSteps([1])
    other = copied(original)
    other.epochs = {}
    original.epochs = {7: 7}
    other.steps = [5]
    found = send(other)
    other.steps = [6]
    pickle.loads(found)
    assert other.steps == [5]
    assert original.epochs == {7: 7}


def test_nothing_is_done_where_no_process_is_launched():
    for launcher in (None, SimpleNamespace()):
        run = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher), callbacks=[])
        return_results(run)
        assert launcher is None or not vars(launcher)
