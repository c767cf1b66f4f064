"""Weights of some steps and epochs."""

import torch
from fake_runs import bare_trainer
from torch import nn

from memzoo.callbacks import KeepSteps


def test_weights_of_steps_and_epochs_are_kept():
    keeper = KeepSteps([2], epochs=[3])
    module = nn.BatchNorm1d(2).double()
    run = bare_trainer(callbacks=[keeper], current_epoch=0)
    for step in range(1, 7):
        run.global_step = step
        run.current_epoch = (step - 1) // 2
        module.weight.data.fill_(step)
        keeper.on_train_batch_end(run, module, None, None, 0)
        if step % 2 == 0:
            keeper.on_train_epoch_end(run, module)
    assert keeper.epochs == {2: 1, 6: 3}
    expected = {2: [2.0, 2.0], 6: [6.0, 6.0]}
    assert {step: kept["weight"].tolist() for step, kept in keeper.kept.items()} == expected
    expected = {torch.float32, torch.int64}
    assert {value.dtype for value in keeper.kept[2].values()} == expected
    state = keeper.state_dict()
    keeper.begin(run, module)
    assert (keeper.kept, keeper.epochs) == ({}, {})
    keeper.load_state_dict(state)
    assert keeper.epochs == {2: 1, 6: 3}
