"""Weights of some steps and epochs."""

import pytest
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


@pytest.mark.parametrize(("stride", "kept"), [(1, [5, 9, 10]), (2, [6, 10]), (3, [6, 9, 12]), (7, [7, 14])])
def test_where_a_batch_makes_several_steps_the_first_state_beyond_a_step_is_kept(stride, kept):
    keeper = KeepSteps([5, 9, 10])
    module = nn.Linear(1, 1)
    run = bare_trainer(callbacks=[keeper], current_epoch=0, global_step=0)
    keeper.begin(run, module)
    keeper.on_train_start(run, module)
    for step in range(stride, 16, stride):
        run.global_step = step
        for _ in range(2):  # a batch may only accumulate
            keeper.on_train_batch_end(run, module, None, None, 0)
    assert sorted(keeper.kept) == kept


def test_a_resumed_run_does_not_keep_a_step_before_it():
    keeper = KeepSteps([2, 6])
    module = nn.Linear(1, 1)
    run = bare_trainer(callbacks=[keeper], current_epoch=0, global_step=4)
    keeper.on_train_start(run, module)
    for run.global_step in (5, 6, 7):
        keeper.on_train_batch_end(run, module, None, None, 0)
    assert sorted(keeper.kept) == [6]


def test_steps_and_epochs_that_were_not_reached_are_named():
    keeper = KeepSteps([5, 8, 9], epochs=[1, 3])
    run = bare_trainer(callbacks=[keeper], current_epoch=2)
    with pytest.warns(UserWarning, match="KeepSteps") as said:
        keeper.on_train_end(run, nn.Linear(1, 1))
    assert [str(one.message).split(":")[0] for one in said] == [
        "KeepSteps kept nothing of step 8 and later ones",
        "KeepSteps kept nothing of epoch 3",
    ]
