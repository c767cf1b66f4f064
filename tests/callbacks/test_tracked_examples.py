"""Which examples are tracked: those given, rows of the data, the first ones of a stream."""

import pytest
import torch
from fake_runs import Means, Net, Stream, X, after_batch, begin_run, epochs, trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks.measuring import KEPT
from memzoo.callbacks.tracked_examples import EXAMPLES, WIDE_EXAMPLES
from memzoo.errors import NonFiniteError, NotASelfMapError


def test_as_many_examples_are_tracked_as_the_documentation_says():
    assert (EXAMPLES, WIDE_EXAMPLES, KEPT) == (32, 8, 2**21)  # as the documentation of the callbacks says
    data = DataLoader(TensorDataset(torch.rand(200, 2)))
    for settings, count in (
        ({}, 32),
        ({"rotate": 3}, 96),
        ({"max_examples": 5}, 5),
        ({"max_examples": 5, "rotate": 2}, 10),
    ):
        callback, *_ = begin_run(Means(**settings), trainer(train_dataloader=data, num_training_batches=200))
        assert len(callback.examples) == count
    callback, *_ = begin_run(Means(X))
    assert torch.equal(callback.examples, X)


class Wide(nn.Module):
    """Nowhere narrower than its input, and too large for a full Jacobian."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return torch.tanh(self.scale * x)


@pytest.mark.parametrize(
    ("width", "count", "settings", "rows"),
    [
        (257, 32, {}, range(0, 32, 4)),
        (257, 17, {}, range(0, 17, 3)),
        (257, 9, {}, range(0, 9, 2)),
        (257, 8, {}, range(8)),  # no more than are affordable
        (257, 32, {"rotate": 2}, range(0, 32, 2)),
        (257, 32, {"rotate": 4}, range(32)),
        (257, 32, {"max_examples": 32}, range(32)),  # chosen by the user
        (256, 32, {}, range(32)),  # the full Jacobian is cheap
    ],
)
def test_fewer_examples_of_wide_maps_are_tracked(width, count, settings, rows):
    x = torch.rand(count, width)
    run = trainer(train_dataloader=DataLoader(TensorDataset(x)), num_training_batches=count)
    callback, *_ = begin_run(Means(**settings), run, Net(Wide()))
    assert torch.equal(callback.examples, x[list(rows)])


def test_examples_that_are_given_are_all_tracked():
    x = torch.rand(20, 257)
    found = len(begin_run(Means(x), module=Net(Wide()))[0].examples)
    assert found == 20


def test_data_that_cannot_be_read_name_the_callback():
    for data in (TensorDataset(torch.arange(6)), [], TensorDataset(torch.rand(0, 2))):
        with pytest.raises((TypeError, ValueError), match=r"Means could not read the tracked examples|at least one"):
            begin_run(Means(), trainer(train_dataloader=DataLoader(data)))

    class Broken(TensorDataset):
        def __getitem__(self, index):
            raise IndexError("no such row")

    with pytest.raises(TypeError, match="Means could not read the tracked examples: no such row"):
        begin_run(Means(), trainer(train_dataloader=DataLoader(Broken(X))))
    with pytest.raises(NonFiniteError, match="the tracked examples holds NaN"):
        begin_run(Means(), trainer(train_dataloader=DataLoader(TensorDataset(X * torch.nan))))


def harvesting(**settings):
    return begin_run(Means(**settings), trainer(train_dataloader=DataLoader(Stream())))


def test_batches_of_a_stream_are_taken_until_there_are_enough():
    callback, run, module = harvesting(max_examples=3)
    assert callback.examples is None
    first = X[:2].clone()
    callback.on_train_batch_start(run, module, (first,), 0)
    first.zero_()  # the training may change its batch
    assert callback.examples is None
    after_batch(callback, run, module, 1)
    assert callback.history == []  # nothing is tracked yet
    callback.on_train_batch_start(run, module, (X[2:4],), 1)
    assert torch.equal(callback.examples, X[:3])
    callback.on_train_batch_start(run, module, ("not looked at",), 2)
    exact, run, module = harvesting(max_examples=2)
    exact.on_train_batch_start(run, module, (X[:2],), 0)
    assert torch.equal(exact.examples, X[:2])


def test_a_short_stream_is_measured_with_what_came():
    callback, run, module = harvesting()
    callback.on_train_epoch_end(run, module)
    assert callback.examples is None
    assert not module.logged
    callback.on_train_end(run, module)
    assert callback.history == []
    callback, run, module = harvesting()
    callback.on_train_batch_start(run, module, (X,), 0)
    after_batch(callback, run, module, 1)
    callback.on_train_epoch_end(run, module)
    assert torch.equal(callback.examples, X)
    assert [row["step"] for row in callback.history] == [1]
    callback, run, module = harvesting()
    callback.on_train_batch_start(run, module, (X,), 0)
    after_batch(callback, run, module, 1)
    callback.on_train_end(run, module)  # the run ended within its first epoch
    assert [row["means/count"] for row in callback.history] == [6]


def test_a_stream_is_refused_at_its_first_batch():
    callback, run, _ = harvesting()
    with pytest.raises(NotASelfMapError, match="forward of Net is no self-map"):
        callback.on_train_batch_start(run, Net(nn.Linear(2, 3)), (X[:1],), 0)
    callback, run, module = harvesting()
    with pytest.raises(TypeError, match=r"Means could not read the tracked examples: samples are torch\.int64"):
        callback.on_train_batch_start(run, module, (X.long(),), 0)


def test_all_processes_decide_together_whether_a_stream_gave_enough():
    callback, run, module = harvesting(max_examples=1)
    run.strategy.reduce_boolean_decision = lambda enough: False
    callback.on_train_batch_start(run, module, (X,), 0)
    assert callback.examples is None
    run.strategy.reduce_boolean_decision = lambda enough: True
    callback.on_train_batch_start(run, module, (X,), 1)
    assert len(callback.examples) == 1


def test_subsets_are_measured_in_turn_and_all_at_the_end():
    callback, run, module = begin_run(Means(X, every_n_epochs=1, rotate=3), trainer(max_epochs=5))
    epochs(callback, run, module, 5)
    assert [row["means/count"] for row in callback.history] == [2, 2, 2, 2, 6]
    means = [row["means/mean"] for row in callback.history]
    expected = [X[::3].mean(), X[1::3].mean(), X[2::3].mean(), X[::3].mean(), X.mean()]
    assert means == expected
    assert callback.state_dict()["turn"] == 5
    assert callback.state_dict()["whole"]


@pytest.mark.parametrize(("count", "subset"), [(4, 2), (3, 3)])
def test_subsets_have_at_least_two_examples(count, subset):
    callback, run, module = begin_run(Means(X[:count], every_n_steps=1, rotate=2))
    after_batch(callback, run, module, 1)
    assert callback.history[-1]["means/count"] == subset
    assert callback.state_dict()["whole"] is (subset == count)
