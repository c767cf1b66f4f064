"""Which examples are tracked: those given, or a sample of the rows that are trained on."""

import pytest
import torch
from fake_runs import Means, Net, X, after_batch, begin_run, epochs, trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks.tracked_examples import EXAMPLES, KEPT, MOST_SEEN, WIDE_EXAMPLES
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.modules import POOL


def test_as_many_examples_are_tracked_as_the_documentation_says():
    # as the documentation of the callbacks says
    assert (EXAMPLES, WIDE_EXAMPLES, KEPT, MOST_SEEN, POOL) == (32, 8, 2**21, 2**16, 1024)
    data = DataLoader(TensorDataset(torch.rand(200, 2)))
    for settings, count in (
        ({}, 32),
        ({"rotate": 3}, 96),
        ({"max_examples": 5}, 5),
        ({"max_examples": 5, "rotate": 2}, 10),
    ):
        callback, *_ = begin_run(Means(**settings), trainer(train_dataloader=data))
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
    ("width", "count", "settings", "tracked"),
    [
        (257, 32, {}, 8),
        (257, 9, {}, 8),
        (257, 8, {}, 8),  # no more than are affordable
        (257, 32, {"rotate": 2}, 16),
        (257, 32, {"rotate": 4}, 32),
        (257, 32, {"max_examples": 32}, 32),  # chosen by the user
        (256, 32, {}, 32),  # the full Jacobian is cheap
    ],
)
def test_fewer_examples_of_wide_maps_are_tracked(width, count, settings, tracked):
    x = torch.rand(count, width)
    run = trainer(train_dataloader=DataLoader(TensorDataset(x), batch_size=5))
    callback, *_ = begin_run(Means(**settings), run, Net(Wide()))
    assert len(as_set(callback.examples) & as_set(x)) == len(callback.examples) == tracked


def test_examples_that_are_given_are_all_tracked():
    x = torch.rand(20, 257)
    found = len(begin_run(Means(x), module=Net(Wide()))[0].examples)
    assert found == 20


def test_batches_that_cannot_be_read_are_refused_before_the_first_step():
    for batch in (torch.arange(6), [], {"labels": X}, "text"):
        with pytest.raises(TypeError, match=r"Means could not read the tracked examples"):
            begin_run(Means(), batches=[batch])
    with pytest.raises(NonFiniteError, match="the tracked examples holds NaN"):
        begin_run(Means(), batches=[X * torch.nan])
    with pytest.raises(NotASelfMapError, match="forward of Net is no self-map"):
        begin_run(Means(), module=Net(nn.Linear(2, 3)), batches=[(X[:1],)])


def as_set(rows):
    return set(map(tuple, rows.flatten(1).tolist()))


def step(callback, run, module, batch, index, *, last=False):
    """Give a callback one batch of a training, and the step that ends it."""
    run.is_last_batch = last
    callback.on_train_batch_start(run, module, batch, index)
    after_batch(callback, run, module, run.global_step + 1, batch_idx=index)


def test_before_the_first_epoch_ends_the_rows_so_far_are_measured():
    callback, run, module = begin_run(Means(every_n_steps=1), batches=[])
    assert callback.examples is None
    for index in range(3):
        step(callback, run, module, (X[2 * index : 2 * index + 2].clone(),), index, last=index == 2)
        assert torch.equal(callback.examples, X[: 2 * index + 2])
        assert ("of the rows that came by before" in callback.about()) is (index < 2)
    assert [row["means/count"] for row in callback.history] == [2, 4, 6]
    step(callback, run, module, (X + 1,), 0)  # of the second epoch
    assert torch.equal(callback.examples, X)


def test_rows_beside_the_examples_are_held_until_everything_is_derived_from_them():
    seen = []

    def count(rows):
        seen.append(len(rows))
        return torch.arange(len(rows))

    callback, run, module = begin_run(Means(max_examples=2, every_n_steps=1), batches=[])
    for index in range(4):
        last = index == 2
        step(callback, run, module, (X[2 * index : 2 * index + 2].clone(),), index, last=last)
        assert len(callback._tracked.derive_from_all(count)) == 2
    assert seen == [2, 4, 2, 2]


def test_a_run_that_ends_within_its_first_epoch_is_measured_with_what_came():
    callback, run, module = begin_run(Means(), batches=[])
    callback.on_train_epoch_end(run, module)
    callback.on_train_end(run, module)
    assert callback.history == []
    assert not module.logged
    callback, run, module = begin_run(Means(), batches=[])
    step(callback, run, module, X, 0)
    callback.on_train_end(run, module)
    assert [row["means/count"] for row in callback.history] == [6]


def test_the_training_may_change_its_batches_afterwards():
    batch = X.clone()
    callback, run, module = begin_run(Means(max_examples=3), batches=[batch])
    batch.zero_()
    callback.on_train_batch_start(run, module, "of another loader", 1)  # batches of any form after the first
    step(callback, run, module, X[:1], 2, last=True)
    callback.on_train_epoch_end(run, module)
    assert len(callback.examples) == 3
    assert as_set(callback.examples) < as_set(X)


def test_of_several_loaders_the_first_is_tracked():
    loaders = {"clean": None, "noisy": None}
    run = trainer(train_dataloader=loaders)
    callback, *_ = begin_run(Means(), run, batches=[{"clean": X[:2], "noisy": X}, {"clean": None, "noisy": X}])
    assert torch.equal(callback.examples, X[:2])


def test_rows_that_are_not_finite_are_left_out_after_the_first_step():
    callback, run, module = begin_run(Means(), batches=[X[:2]])
    step(callback, run, module, torch.cat([X[2:3] * torch.nan, X[3:]]), 1, last=True)
    callback.on_train_epoch_end(run, module)
    assert torch.equal(callback.examples, X[[0, 1, 3, 4, 5]])


def test_lazy_modules_are_measured_once_they_have_their_layers():
    module = Net(nn.LazyLinear(2))
    callback, run, _ = begin_run(Means(every_n_steps=1), module=module, batches=[X])
    assert isinstance(module.layer.weight, nn.UninitializedParameter)
    module(X)
    step(callback, run, module, X, 1)
    assert callback.history[-1]["means/count"] == 6


def resume(callback, state, batches, module=None, *, first=0):
    """Resume a run from the state of a callback, with an epoch of batches; the first ones were done before."""
    run = trainer()
    module = module or Net()
    run.callbacks = [callback]
    callback.setup(run, module, "fit")
    callback.load_state_dict(state)
    callback.on_train_start(run, module)
    for index, batch in enumerate(batches):
        step(callback, run, module, batch, index + first, last=index + 1 == len(batches))
    callback.on_train_epoch_end(run, module)
    return run, module


def test_a_run_that_is_resumed_within_the_first_epoch_tracks_the_rows_of_the_unbroken_one():
    x = torch.rand(40, 3)
    batches = x.split(5)
    whole, *_ = begin_run(Means(max_examples=6), trainer(train_dataloader=DataLoader(x, 5)), Net(nn.Identity()))
    half, *_ = begin_run(Means(max_examples=6), batches=batches[:3], module=Net(nn.Identity()))
    again = Means(max_examples=6)
    resume(again, half.state_dict(), batches[3:], Net(nn.Identity()), first=3)
    assert torch.equal(again.examples, whole.examples)


@pytest.mark.parametrize("first", [0, 2])
def test_rows_that_are_too_large_for_a_checkpoint_are_found_again_by_name(first, monkeypatch):
    monkeypatch.setattr("memzoo.callbacks.course.KEPT", 10)
    monkeypatch.setattr("memzoo.callbacks.tracked_examples.KEPT", 10)
    x = torch.rand(40, 3)
    batches = x.split(5)
    module = Net(nn.Identity())
    whole, *_ = begin_run(Means(max_examples=6), trainer(train_dataloader=DataLoader(x, 5)), module)
    state = whole.state_dict()
    assert state["kept"] == {}
    assert state["wanted"].shape == (6,)
    # in another order, with other rows beside them
    others = torch.rand(40, 3)
    mixed = torch.cat([x, others])[torch.randperm(80)].split(5)
    again = Means(max_examples=6)
    run, _ = resume(again, state, mixed[first:], module, first=first)
    if first:  # the beginning of the epoch did not come by: the rows may be among those of the next one
        for index, batch in enumerate(mixed):
            step(again, run, module, batch, index, last=index + 1 == len(mixed))
        again.on_train_epoch_end(run, module)
        again._record(run, module, must=True)
    assert torch.equal(again.examples, whole.examples)
    assert torch.equal(again.state_dict()["wanted"], state["wanted"])
    half, *_ = begin_run(Means(max_examples=6), batches=batches[:3], module=module)
    assert "sample" not in half.state_dict()
    assert len(half.state_dict()["wanted"]) == 6


def test_a_sample_ends_after_so_many_rows(monkeypatch):
    monkeypatch.setattr("memzoo.callbacks.tracked_examples.MOST_SEEN", 4)
    callback, run, module = begin_run(Means(every_n_steps=1), batches=[])
    for index in range(3):
        step(callback, run, module, X[2 * index : 2 * index + 2], index)
    assert torch.equal(callback.examples, X[:4])
    assert callback.about() == "4 examples"


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
