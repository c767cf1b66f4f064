"""The facts that tests share: one measurement for the same question, another for any other question."""

import pytest
import torch
from shared_facts import sharing

from memzoo.models import FullyConnected
from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.measures.measurements import Measurements


def measurements(width=4, examples=None):
    torch.manual_seed(0)
    model = FullyConnected(shape=(1, 2, 2), depth=2, width=width).eval()
    model.examples = torch.full((1, 1, 2, 2), 0.5) if examples is None else examples
    model.probes = torch.zeros(1, 1, 2, 2)
    return Measurements(model)


@pytest.fixture
def counted(monkeypatch):
    """A measure that counts how often it is computed, in the place of one of memzoo's."""
    calls = []

    def radius_max(m, *, scale=1.0):
        calls.append(scale)
        return float(len(calls))

    monkeypatch.setitem(MEASURES, "radius_max", radius_max)
    return calls


def test_the_same_question_is_computed_once(counted, tmp_path):
    with sharing(tmp_path):
        assert [MEASURES["radius_max"](measurements()) for _ in range(3)] == [1.0, 1.0, 1.0]
    assert len(counted) == 1
    assert MEASURES["radius_max"](measurements()) == 2.0  # nothing is shared any more


def test_another_question_is_computed(counted, tmp_path):
    changed = measurements()
    with torch.no_grad():
        next(changed.model.parameters())[0] += 1e-7
    others = [changed, measurements(width=5), measurements(examples=torch.full((1, 1, 2, 2), 0.25))]
    with sharing(tmp_path):
        answers = [MEASURES["radius_max"](m) for m in (measurements(), *others)]
        answers.append(MEASURES["radius_max"](measurements(), scale=2.0))
    assert answers == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_sharing_within_sharing_waits_for_nothing(counted, tmp_path):
    with sharing(tmp_path):
        with sharing(tmp_path):
            assert MEASURES["radius_max"](measurements()) == 1.0
        assert MEASURES["radius_max"](measurements()) == 1.0


def test_a_value_that_is_no_number_comes_back_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setitem(MEASURES, "radius_max", lambda m: float("nan"))
    with sharing(tmp_path):
        found = [MEASURES["radius_max"](measurements()) for _ in range(2)]
    assert all(value != value for value in found)
