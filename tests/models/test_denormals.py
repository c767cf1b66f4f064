from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from memzoo.data import full_batches
from memzoo.models import FullyConnected
from memzoo.models.base.denormals import flushes_denormals


@pytest.mark.parametrize("fails", [False, True])
def test_denormals_are_flushed_while_training_only(fails):
    seen = []

    class Watching(nn.Identity):
        def forward(self, x):
            seen.append(flushes_denormals())
            if fails:
                raise RuntimeError("no")
            return x

    model = FullyConnected(shape=(1, 4, 4), depth=3, width=6)
    model.net.append(Watching())
    trainer = Trainer(max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(RuntimeError, match="no") if fails else nullcontext():
        trainer.fit(model, full_batches(torch.rand(2, 1, 4, 4)))
    assert seen == [True]
    assert not flushes_denormals()
