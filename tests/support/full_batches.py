"""Trains on full batches, alone or in processes that share them: ``python full_batches.py PROCESSES FILE``."""

import sys

import torch
from lightning.pytorch import Trainer

from memzoo.data import full_batches, mnist20
from memzoo.models import FullyConnected

QUICK = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Counting(FullyConnected):
    """Counts the images that this process is given."""

    seen = 0

    def on_train_batch_start(self, batch, batch_idx):
        self.seen += len(batch[0])


torch.manual_seed(0)
model = Counting(depth=2, width=4, training={"optimizer": "sgd", "lr": 1.0})
processes = int(sys.argv[1])
trainer = Trainer(
    **QUICK, accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", max_epochs=2
)
trainer.fit(model, train_dataloaders=full_batches(mnist20()[0].pixels(), steps_per_epoch=3))
if trainer.is_global_zero:
    torch.save({"weights": dict(model.state_dict()), "seen": model.seen}, sys.argv[2])
