"""Checkpoints that hold an ensemble: the rows of Tables 1 and 2."""

import pytest
import torch

import memzoo
from memzoo.data import Selection
from memzoo.dynamics import certify, operator
from memzoo.errors import UnknownCheckpointError
from memzoo.zoo import checkpoints_of, train
from memzoo.zoo.loading.images import repeat_for_members
from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.measures.measurements import Measurements

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


@pytest.mark.parametrize("row", ["table2-1", "table2-2"])
def test_the_first_rows_of_table_2_are_made_again_from_their_recipes(row, tmp_path):
    entry = memzoo.info(row)
    folder, rows = train(row, tmp_path, max_steps=9000, **QUIET)  # one of the 3x3 images takes three times as long
    claim = rows[0]
    assert claim.fact.measure == "members_within"
    assert claim.measured >= 4
    recorded = memzoo.load(row)
    again = memzoo.load(f"local-dir:{folder}")
    assert torch.equal(recorded.examples, again.examples)
    assert again.config == recorded.config
    moduli = again.eigenvalues().abs()
    wanted = entry.facts[0].args
    assert (moduli[:, 1:] < wanted["below"]).all(1).sum() >= 4


def test_members_come_with_their_images_and_spectra():
    model = memzoo.load("table2-1")
    assert model.examples.shape == (1, 5, 1, 2, 2)
    assert model.probes.shape[1:] == model.shape
    for index, member in enumerate(model):
        assert torch.equal(member.examples, model.examples[:, index])
        torch.testing.assert_close(member(member.examples), member.examples, rtol=0, atol=3e-3)
        radius = operator(member).spectrum.radius[0]
        torch.testing.assert_close(model.eigenvalues()[index, 0].abs(), radius)


def test_measures_of_an_ensemble_follow_their_definition(monkeypatch):
    model = memzoo.load("table2-1")
    moduli = torch.tensor([[1.0, 0.02, 0], [1.0, 0.005, 0], [0.9, 0.001, 0], [1.1, 0.002, 0], [1.0, 0.009, 0]])
    measurements = Measurements(model)
    monkeypatch.setattr(type(measurements), "moduli", moduli)
    within = MEASURES["members_within"](measurements, leading=1, low=0.95, high=1.05, below=0.01)
    assert within == 2
    assert MEASURES["median_eigenvalue"](measurements, rank=2) == pytest.approx(0.005)
    model.stopped_at[:] = torch.tensor([5, -1, 0, -2, 7])
    assert MEASURES["members_converged"](measurements) == 3


def test_measures_of_an_ensemble_refuse_another_model():
    with pytest.raises(TypeError, match=r"this measure is for an Ensemble, and the model is a D1"):
        MEASURES["members_converged"](Measurements(memzoo.load("cifar10-d1")))


def test_a_name_stands_for_a_checkpoint_or_for_all_of_a_figure():
    assert checkpoints_of("cifar10-d1") == checkpoints_of("fig7") == ["cifar10-d1"]
    assert len(checkpoints_of("table2")) == 9
    assert checkpoints_of("table2-1") == [memzoo.info("table2-1").id]
    with pytest.raises(UnknownCheckpointError, match=r"no checkpoint or figure 'table3'\. Did you mean table"):
        checkpoints_of("table3")


def test_members_get_the_same_images_of_a_dataset():
    images = torch.arange(2 * 3 * 3, dtype=torch.uint8).reshape(2, 1, 3, 3)
    selection = Selection("mnist", "train", (0, 1), images)
    assert repeat_for_members(selection, (1, 3, 3)) is selection
    found = repeat_for_members(selection, (5, 1, 3, 3))
    assert found.images.shape == (2, 5, 1, 3, 3)
    assert all(torch.equal(found.images[:, member], images) for member in range(5))
    assert found.indices == selection.indices


def test_medians_over_the_members_are_those_of_each_alone(shared_facts):
    model = memzoo.load("mnist10-fc5x12-relu-xavier-sgd")
    m = Measurements(model)
    members = [model.member(index) for index in range(3)]
    counts = sorted(int(certify(member, member.examples, eps=0.5).attractor.sum()) for member in members)
    assert MEASURES["median_attractors"](m, eps=0.5) == counts[1]
    with torch.no_grad():
        losses = sorted(
            (member(member.examples) - member.examples).double().square().mean().item() for member in members
        )
    assert MEASURES["median_loss"](m) == pytest.approx(losses[1], rel=1e-3)
