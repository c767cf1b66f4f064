import random

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from memzoo.callbacks import KeepGenerators
from memzoo.data import mini_batches

X = torch.rand(12, 6, generator=torch.Generator().manual_seed(1))


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 6))

    def training_step(self, batch, batch_idx):
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        scale = 1 + 0.1 * (random.random() + np.random.random())  # noqa: NPY002
        return nn.functional.mse_loss(self.net(scale * x), x)

    def configure_optimizers(self):
        torch.rand(1)  # after a checkpoint is read
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def draws():
    return torch.rand(3).tolist(), np.random.random(3).tolist(), [random.random(), random.gauss(0, 1)]  # noqa: NPY002


def test_the_states_come_back_through_a_file_of_tensors_and_plain_values(tmp_path):
    random.gauss(0, 1)  # leaves half a pair behind
    np.random.normal()  # likewise  # noqa: NPY002
    keeper = KeepGenerators()
    torch.save(keeper.state_dict(), tmp_path / "states.pt")
    first = draws()
    assert draws() != first
    keeper.load_state_dict(torch.load(tmp_path / "states.pt", weights_only=True))
    assert draws() == first


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Run from the start with all checkpoints kept, or from one of them, with other states of all generators."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")

    def run(loader, resume=None, every=None, **length):
        seed_everything(0 if resume is None else 99, verbose=False)
        saving = {"every_n_train_steps": every} if every else {"every_n_epochs": 1, "save_on_train_epoch_end": True}
        keeper = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **saving)
        model = Net()
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = Trainer(callbacks=[KeepGenerators(), keeper], **length, **options)
        path = None if resume is None else tmp_path / f"step={resume}.ckpt"
        trainer.fit(model, loader(), ckpt_path=path, weights_only=True)
        return [value.clone() for value in model.state_dict().values()], trainer.global_step, trainer.current_epoch

    return run


def plain():
    return DataLoader(X, batch_size=4, shuffle=True)


def ours():
    return mini_batches(X, 4)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("loader", [plain, ours])
@pytest.mark.parametrize("length", [{"max_epochs": 6}, {"max_steps": 17, "max_epochs": -1}])
def test_a_run_resumed_at_an_epochs_end_goes_on_as_the_unbroken_one(runs, loader, length):
    whole = runs(loader, **length)
    again = runs(loader, resume=9, **length)
    assert all(torch.equal(a, b) for a, b in zip(whole[0], again[0], strict=True))
    assert whole[1:] == again[1:]


def the_same_again():
    return DataLoader(X[:1].repeat(12, 1), batch_size=4)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("loader", [ours, the_same_again])  # one knows where it stood, of the other nobody can tell
@pytest.mark.parametrize("length", [{"max_epochs": 6}, {"max_steps": 17, "max_epochs": -1}])
def test_a_run_resumed_within_an_epoch_goes_on_as_the_unbroken_one(runs, loader, length):
    whole = runs(loader, every=4, **length)
    again = runs(loader, resume=8, every=4, **length)  # after two of the three batches of an epoch
    assert all(torch.equal(a, b) for a, b in zip(whole[0], again[0], strict=True))
    assert whole[1:] == again[1:]


def progress():
    return {"epoch_progress": {part: {"ready": 5, "processed": 4, "completed": 3} for part in ("total", "current")}} | {
        "epoch_loop.batch_progress": {"total": {"ready": 9}, "current": {"ready": 3, "done": 3}, "is_last_batch": True}
    }


def test_an_epoch_that_has_ended_is_counted_as_ended():
    keeper = KeepGenerators()
    checkpoint = {"loops": {"fit_loop": progress()}}
    keeper.on_save_checkpoint(None, None, checkpoint)
    loop = checkpoint["loops"]["fit_loop"]
    found = [loop["epoch_progress"][part]["completed"] for part in ("total", "current")]
    assert found == [4, 4]
    expected = {
        "total": {"ready": 9},
        "current": {"ready": 0, "done": 0},
        "is_last_batch": False,
    }
    assert loop["epoch_loop.batch_progress"] == expected


def test_within_an_epoch_a_checkpoint_is_left_as_it_is():
    keeper = KeepGenerators()
    checkpoint = {"loops": {"fit_loop": progress()}}
    keeper.on_train_batch_start(None, None, None, 0)
    keeper.on_save_checkpoint(None, None, checkpoint)
    assert checkpoint == {"loops": {"fit_loop": progress()}}
    assert keeper.state_dict()["within"]
    keeper.on_train_epoch_end(None, None)
    assert not keeper.state_dict()["within"]
    for without in ({}, {"loops": {"fit_loop": {"epoch_progress": progress()["epoch_progress"]}}}):
        keeper.on_save_checkpoint(None, None, without)
    assert without["loops"]["fit_loop"] == {"epoch_progress": progress()["epoch_progress"]}


def test_states_are_put_back_at_the_moments_at_which_seeds_are_drawn():
    state = KeepGenerators().state_dict()
    first = draws()
    for within in (False, True):
        keeper = KeepGenerators()
        keeper.load_state_dict(state | {"within": within})
        assert draws() == first
        keeper.on_fit_start(None, None)
        assert draws() == first
        keeper.on_train_start(None, None)
        assert (draws() == first) is within
        assert keeper.state_dict()["within"] is within
        keeper.on_fit_start(None, None)  # it was put back once
        assert draws() != first
    keeper.load_state_dict(state)
    draws()
    keeper.begin(None, None)
    keeper.on_fit_start(None, None)
    assert draws() != first


def test_each_process_has_its_own_state(monkeypatch):
    own = KeepGenerators().state_dict()["processes"][0]
    first = draws()
    others = KeepGenerators().state_dict()["processes"][0]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        torch.distributed, "all_gather_object", lambda found, mine: found.__setitem__(slice(2), [0, mine])
    )
    keeper = KeepGenerators()
    assert [type(state) for state in keeper.state_dict()["processes"]] == [int, dict]
    keeper.load_state_dict({"within": False, "processes": [others, own]})
    assert draws() == first
    keeper.load_state_dict({"within": False, "processes": [own]})  # of a run with fewer processes
    assert draws() != first
