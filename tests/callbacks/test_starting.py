"""Where starts come from, and which of them travel in a checkpoint."""

from types import SimpleNamespace

import pytest
import torch
from fake_runs import Corners, Net, Stream, X, begin_run, run_of, trainer
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks import AttractorCallback, TrajectoryLogger
from memzoo.errors import NonFiniteError


def begin(callback, **known):
    module = Net(Corners())
    run = trainer(**{"val_dataloaders": None, "enable_validation": False, "lightning_module": module, **known})
    return begin_run(callback, run, module)[0]


def held_out(points):
    return DataLoader(TensorDataset(points))


def test_validation_images_that_are_no_examples_are_the_starts():
    points = torch.rand(5, 2)
    callback = begin(AttractorCallback(X, max_starts=9), val_dataloaders=held_out(torch.cat([points, X[:2]])))
    assert torch.equal(callback.starts, points)
    near = begin(AttractorCallback(X, max_starts=9), val_dataloaders=held_out(X[1:3] + 1e-6))
    assert len(near.starts) == 2  # close to an example is another image


@pytest.mark.parametrize(
    "points",
    [X, torch.rand(5, 3), torch.tensor([[torch.nan, 0.0]]), torch.tensor([[1, 2]])],
    ids=["examples", "another shape", "nan", "whole numbers"],
)
def test_where_validation_has_no_starts_they_are_noise(points):
    callback = begin(AttractorCallback(X, max_starts=9), val_dataloaders=held_out(points))
    assert callback.starts.shape == (9, 2)
    with pytest.raises(ValueError, match="starts='validation' needs a validation set of the examples' shape"):
        begin(AttractorCallback(X, "validation"), val_dataloaders=held_out(points))


def test_noise_is_seeded_and_validation_is_not_looked_at():
    one, same, other = (begin(AttractorCallback(X, "noise", max_starts=4, seed=seed)).starts for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    validation = held_out(torch.rand(5, 2))
    assert torch.equal(
        begin(AttractorCallback(X, "noise", max_starts=4, seed=1), val_dataloaders=validation).starts, one
    )
    assert begin(AttractorCallback(X, max_starts=4), val_dataloaders=held_out(torch.rand(5, 2))).starts.max() < 1
    assert begin(AttractorCallback(X)).starts.shape == (200, 2)  # a map that costs nothing
    stream = DataLoader(Stream())
    assert begin(AttractorCallback(X, max_starts=4), val_dataloaders=stream).starts.shape == (4, 2)


def test_where_starts_are_not_given_their_number_must_be():
    with pytest.raises(ValueError, match=r"TrajectoryLogger needs a number of starts .*, got max_starts=None; pass"):
        begin(TrajectoryLogger(X, max_starts=None, folder="unused"))


def test_starts_are_test_images_in_a_test():
    test = torch.rand(3, 2)
    validation = torch.rand(4, 2)
    run = trainer(
        state=SimpleNamespace(fn="test"), test_dataloaders=held_out(test), val_dataloaders=held_out(validation)
    )
    run.lightning_module = Net(Corners())
    callback = AttractorCallback(X, steps=2)
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
