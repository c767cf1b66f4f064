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
