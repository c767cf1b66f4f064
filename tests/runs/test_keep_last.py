"""The last state of a run, written at the moments that were asked for."""

from types import SimpleNamespace

import torch
from fake_runs import bare_trainer

from memzoo.runs.keep_last import LAST, KeepLast, read_stopping_reason


def test_the_last_state_is_written_at_the_moments_that_were_asked_for(tmp_path):
    saved = []
    run = bare_trainer(
        fast_dev_run=False,
        is_global_zero=True,
        num_training_batches=5,
        current_epoch=0,
        callbacks=[],
        max_steps=-1,
        max_epochs=3,
    )
    run.strategy = SimpleNamespace(broadcast=lambda value: value, barrier=lambda name: None)

    def save(path, weights_only):
        saved.append(run.global_step)
        torch.save({"callbacks": {"KeepLast": keeper.state_dict()}}, path)

    run.save_checkpoint = save
    keeper = KeepLast(tmp_path, every_n_epochs=2, every_n_steps=3)
    for batch in range(5):
        run.global_step = batch + 1
        keeper.on_train_batch_end(run, None, None, None, batch)
    assert saved == [3]
    run.global_step = 6
    keeper.on_train_batch_end(run, None, None, None, 4)  # the last batch: the epoch's end is still to come
    keeper.on_train_epoch_end(run, None)
    assert saved == [3]
    run.current_epoch = 1
    keeper.on_train_epoch_end(run, None)
    assert saved == [3, 6]
    assert [path.name for path in tmp_path.iterdir()] == [LAST]
    run.max_epochs = 1
    run.should_stop = False
    keeper.on_train_end(run, None)
    assert read_stopping_reason(tmp_path / LAST) is None  # went as far as it was to go
    run.max_epochs = 9
    run.should_stop = True
    run.callbacks = [SimpleNamespace(stopped_because="a rule")]
    keeper.on_train_end(run, None)
    assert read_stopping_reason(tmp_path / LAST) == "a rule"
    run.callbacks = []
    run.max_steps = 6
    keeper.on_train_end(run, None)
    assert read_stopping_reason(tmp_path / LAST) is None
    run.fast_dev_run = True
    count = len(saved)
    keeper.on_train_end(run, None)
    assert len(saved) == count
    patient = KeepLast(tmp_path, every_s=1e6)
    run.fast_dev_run = False
    patient.on_train_epoch_end(run, None)
    assert len(saved) == count
    patient.load_state_dict({"saved": 5, "stopped": None})
    assert patient.state_dict() == {"saved": 5, "stopped": None}
