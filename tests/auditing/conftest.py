import sys

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from safetensors.torch import save_file

from memzoo.auditing import load_self_map

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
        return super().forward(x), super().forward(x / 2)


class Images(LightningDataModule):
    def setup(self, stage):
        x = torch.arange(30.0)[:, None, None, None].expand(-1, 1, 3, 4) / 30
        self.train = TensorDataset(x[:10])
        self.val = TensorDataset(x[10:])

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
    """Enter a folder with the module of a user, a checkpoint of it, and images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    load_self_map("theirs.Net")  # imports the module
    kind = sys.modules["theirs"].Net
    trainer = Trainer(
        max_epochs=0, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu"
    )
    trainer.strategy.connect(kind())
    trainer.save_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    images = {}
    for seed, name in enumerate(("members", "controls", "starts")):
        images[name] = np.random.default_rng(seed).integers(0, 256, (6, 1, 3, 4), np.uint8)
    np.savez(tmp_path / "images.npz", **images)
    save_file({name: torch.from_numpy(x) for name, x in images.items()}, tmp_path / "images.safetensors")
    for name, batch in images.items():
        (tmp_path / "folder" / name).mkdir(parents=True)
        for i, image in enumerate(batch):
            Image.fromarray(image[0]).save(tmp_path / "folder" / name / f"{i}.png")
    yield tmp_path
    sys.modules.pop("theirs", None)
