"""Tests share what they measure: the same question is measured once, and any other question is measured by itself."""

import math

import pytest
import torch
from shared_facts import sharing

from memzoo.dynamics import iterate
from memzoo.models import FullyConnected
from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.measures.measurements import Measurements


def make_measurements(width=4, examples=None, whole=None):
    torch.manual_seed(0)
    model = FullyConnected(shape=(1, 2, 2), depth=2, width=width).eval()
    model.examples = torch.full((1, 1, 2, 2), 0.5) if examples is None else examples
    model.probes = torch.zeros(1, 1, 2, 2)
    return Measurements(model, whole)


@pytest.fixture
def calls(monkeypatch):
    """Put a measure in the place of one of memzoo's, and return the list of its calls."""
    calls = []

    def radius_max(m, *, scale=1.0):
        calls.append(scale)
        return float(len(calls))

    monkeypatch.setitem(MEASURES, "radius_max", radius_max)
    return calls


def test_the_same_question_is_computed_once(calls, tmp_path):
    with sharing(tmp_path):
        found = [MEASURES["radius_max"](make_measurements()) for _ in range(3)]
        assert found == [1.0, 1.0, 1.0]
    assert len(calls) == 1


def test_nothing_is_shared_after_the_block(calls, tmp_path):
    with sharing(tmp_path):
        assert MEASURES["radius_max"](make_measurements()) == 1.0
    assert MEASURES["radius_max"](make_measurements()) == 2.0


def test_another_question_is_computed(calls, tmp_path):
    other_weights = make_measurements()
    with torch.no_grad():
        next(other_weights.model.parameters())[0] += 1e-7
    other_network = make_measurements(width=5)
    other_images = make_measurements(examples=torch.full((1, 1, 2, 2), 0.25))
    with sharing(tmp_path):
        answers = [MEASURES["radius_max"](m) for m in (make_measurements(), other_weights, other_network, other_images)]
        answers.append(MEASURES["radius_max"](make_measurements(), scale=2.0))
    assert answers == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_results_from_which_facts_follow_are_computed_once(monkeypatch, tmp_path):
    calls = []

    def follow(*arguments):
        calls.append(arguments)
        return iterate(*arguments)

    monkeypatch.setattr("memzoo.zoo.measures.measurements.iterate", follow)
    with sharing(tmp_path):
        distances = [make_measurements().distances("noise", 2, 5, 0) for _ in range(2)]
        shared = make_measurements().ends("noise", 2, 5, 0)
        with sharing(tmp_path):
            assert torch.equal(make_measurements().ends("noise", 2, 5, 0), shared)
    assert len(calls) == 1
    assert torch.equal(*distances)
    assert torch.equal(make_measurements().ends("noise", 2, 5, 0), shared)
    assert len(calls) == 2


def test_the_whole_training_set_is_part_of_questions_about_it_alone(calls, tmp_path):
    parts = [make_measurements(whole=torch.full((count, 1, 2, 2), 0.5)) for count in (1, 3)]
    with sharing(tmp_path):
        errors = [MEASURES["whole_error"](m) for m in (*parts, make_measurements(whole=torch.zeros(3, 1, 2, 2)))]
        assert [MEASURES["radius_max"](m) for m in parts] == [1.0, 1.0]
    assert errors[0] == pytest.approx(errors[1])
    assert errors[2] != errors[1]


def test_sharing_within_sharing_does_not_wait_for_itself(calls, tmp_path):
    with sharing(tmp_path):
        with sharing(tmp_path):
            assert MEASURES["radius_max"](make_measurements()) == 1.0
        assert MEASURES["radius_max"](make_measurements()) == 1.0


def test_nan_is_shared_as_nan(monkeypatch, tmp_path):
    monkeypatch.setitem(MEASURES, "radius_max", lambda m: float("nan"))
    with sharing(tmp_path):
        values = [MEASURES["radius_max"](make_measurements()) for _ in range(2)]
    assert all(math.isnan(value) for value in values)
