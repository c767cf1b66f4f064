"""Where starts come from, and which of them travel in a checkpoint."""

from types import SimpleNamespace

import pytest
import torch
from fake_runs import Corners, Net, X, begin_run, run_of, trainer

from memzoo.callbacks import AttractorCallback, TrajectoryLogger
from memzoo.errors import NonFiniteError

LOADER = object()


def begin(callback, held_out=None, **known):
    """Begin a run; if there are held-out batches, validate once, as before the first measurement."""
    module = Net(Corners())
    run = trainer(**{"enable_validation": held_out is not None, "val_dataloaders": LOADER, **known})
    begin_run(callback, run, module)
    if held_out is not None:
        validate(callback, run, held_out)
        callback._choose(run, module)
    return callback


def validate(callback, run, held_out):
    for index, batch in enumerate(held_out):
        callback.on_validation_batch_start(run, run.lightning_module, batch, index)
    run.state.fn = "other"  # measure nothing
    callback.on_validation_epoch_end(run, run.lightning_module)
    run.state.fn = "fit"


def test_validation_images_that_are_no_examples_are_the_starts():
    points = torch.rand(5, 2)
    callback = begin(AttractorCallback(X, max_starts=9), [(points[:3],), (torch.cat([points[3:], X[:2]]),)])
    assert torch.equal(callback.starts, points)
    near = begin(AttractorCallback(X, max_starts=9), [X[1:3] + 1e-6])
    assert len(near.starts) == 2  # close to an example is another image
    few = begin(AttractorCallback(X, max_starts=3), [points, points])
    assert len({tuple(row) for row in few.starts.tolist()} & {tuple(row) for row in points.tolist()}) == 3


@pytest.mark.parametrize(
    "batch",
    [X, torch.rand(5, 3), torch.tensor([[torch.nan, 0.0]]), torch.tensor([[1, 2]])],
    ids=["examples", "another shape", "nan", "whole numbers"],
)
def test_where_validation_has_no_starts_they_are_noise(batch):
    callback = begin(AttractorCallback(X, max_starts=9), [batch])
    assert callback.starts.shape == (9, 2)
    with pytest.raises(ValueError, match="starts='validation' needs a validation set of the examples' shape"):
        begin(AttractorCallback(X, "validation"), [batch])
    with pytest.warns(UserWarning, match=r"starts='validation' needs .* iteration starts from noise"):
        begin(AttractorCallback(X, "validation"), [batch], global_step=4)  # no training is lost
    with pytest.raises(ValueError, match="starts='validation' needs a validation set"):
        begin(AttractorCallback(X, "validation"))


def test_until_a_validation_has_come_by_starts_are_noise():
    callback = AttractorCallback(X, max_starts=4)
    run = trainer(enable_validation=True, val_dataloaders=LOADER, sanity_checking=True)
    begin_run(callback, run, Net(Corners()))
    assert callback.starts.shape == (4, 2)
    assert callback.state_dict()["kept"] == {}  # they are not those of the run
    callback.on_validation_batch_start(run, run.lightning_module, X[:1] + 0.5, 0)
    callback.on_validation_epoch_end(run, run.lightning_module)
    callback._choose(run, run.lightning_module)
    assert torch.equal(callback.starts, X[:1] + 0.5)  # those of the sanity check
    assert callback.is_pending()
    run.sanity_checking = False
    validate(callback, run, [X[:3] + 0.5])
    callback._choose(run, run.lightning_module)
    assert torch.equal(callback.starts, X[:3] + 0.5)
    assert not callback.is_pending()
    validate(callback, run, [X + 0.25])
    assert not callback.is_pending()


def test_of_several_validation_loaders_the_first_is_taken():
    one_after_another = begin_run(AttractorCallback(X), trainer(enable_validation=True, val_dataloaders=[LOADER] * 2))
    callback, run, module = one_after_another
    callback.on_validation_batch_start(run, module, X + 0.5, 0, 0)
    callback.on_validation_batch_start(run, module, X + 0.25, 0, 1)
    validate(callback, run, [])
    callback._choose(run, module)
    assert torch.equal(callback.starts, X + 0.5)
    loaders = {"a": LOADER, "b": LOADER}
    together = begin(AttractorCallback(X), [{"a": X + 0.5, "b": X}], val_dataloaders=loaders)
    assert torch.equal(together.starts, X + 0.5)
    alone = begin(AttractorCallback(X), [X + 0.5], val_dataloaders=[LOADER])
    assert torch.equal(alone.starts, X + 0.5)


def test_noise_is_seeded_and_lies_where_the_examples_lie():
    one, same, other = (begin(AttractorCallback(X, "noise", max_starts=4, seed=seed)).starts for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    validated = begin(AttractorCallback(X, "noise", max_starts=4, seed=1), [torch.rand(5, 2)])
    assert torch.equal(validated.starts, one)
    assert begin(AttractorCallback(X)).starts.shape == (200, 2)  # a map that costs nothing
    for coordinate in range(2):
        assert set(one[:, coordinate].tolist()) <= set(range(12))


def test_where_starts_are_not_given_their_number_must_be():
    with pytest.raises(ValueError, match=r"TrajectoryLogger needs a number of starts .*, got max_starts=None; pass"):
        begin(TrajectoryLogger(X, max_starts=None, folder="unused"))


def test_starts_are_test_images_in_a_test():
    test = torch.rand(3, 2)
    run = trainer(state=SimpleNamespace(fn="test"), test_dataloaders=LOADER, lightning_module=Net(Corners()))
    callback = AttractorCallback(X, steps=2)
    callback.on_test_batch_start(run, run.lightning_module, (test,), 0)
    callback.on_test_epoch_end(run, run.lightning_module)
    assert torch.equal(callback.starts, test)


def test_starts_of_a_function_are_made_from_the_examples():
    assert torch.equal(begin(AttractorCallback(X, lambda x: x + 1)).starts, X + 1)
    with pytest.raises(ValueError, match="starts and examples must be points of one space"):
        begin(AttractorCallback(X, lambda x: x[:, :1]))
    with pytest.raises(NonFiniteError, match="starts holds NaN"):
        begin(AttractorCallback(X, lambda x: x * torch.nan))


def test_given_starts_are_checked_and_starts_of_another_run_are_forgotten():
    with pytest.raises(NonFiniteError, match="starts holds NaN"):
        AttractorCallback(X, X * torch.nan)
    callback = begin(AttractorCallback(X, max_starts=3))
    callback.begin(run_of(callback), Net())
    assert callback.starts is None


def test_chosen_starts_travel_and_given_ones_do_not():
    callback = begin(AttractorCallback(X, "noise", max_starts=3))
    kept = callback.state_dict()["kept"]
    assert list(kept) == ["starts"]  # given examples are given again, and eps comes from them
    other = AttractorCallback(X, "noise")
    other.load_state_dict(callback.state_dict())
    assert torch.equal(other.starts, callback.starts)
    other.restore({})
    assert torch.equal(other.starts, callback.starts)
    assert begin(AttractorCallback(X, X + 1)).state_dict()["kept"] == {}
    found = list(begin(AttractorCallback(starts=X + 1)).state_dict()["kept"])
    assert found == ["examples", "eps", "group"]  # derived from examples that nobody gave
    assert list(begin(AttractorCallback(starts=X + 1, eps=0.1)).state_dict()["kept"]) == ["examples"]
    assert AttractorCallback().state_dict()["kept"] == {}
