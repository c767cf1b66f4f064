"""When a measurement is due, by the arithmetic of the cadence alone."""

import math

import pytest

from memzoo.callbacks.cadence import BETWEEN, Cadence


def test_every_nth_epoch_is_due():
    cadence = Cadence(3, None, 0.05)
    found = [epoch for epoch in range(10) if cadence.due_after_epoch(0, epoch)]
    assert found == [2, 5, 8]
    assert not cadence.by_budget
    assert not cadence.due_after_batch(10**9, 10**9)
    assert not cadence.early(10**9)
    assert cadence.plan(7, 1.0) == 8


def test_every_nth_step_is_due():
    cadence = Cadence(None, 4, 0.05)
    due = []
    for step in range(1, 15):
        if cadence.due_after_batch(step, 5):
            due.append(step)
            cadence.next_step = cadence.plan(step, 1.0)
    assert due == [4, 8, 12]
    assert cadence.plan(13, 0.0) == 16
    assert not cadence.by_budget
    assert not cadence.early(10**9)


def test_the_budget_allows_the_measurements_so_far_this_one_and_a_closing_one():
    # 10 s of measuring so far and two of 5 s are 20 s: a tenth of 200 s of training, of which 100 are over in 50 steps
    cadence = Cadence(None, None, 0.1)
    cadence.measuring_s = 10.0
    cadence.training_s = 100.0
    cadence.steps = 50
    assert cadence.by_budget
    assert cadence.plan(50, 5.0) == 100
    assert cadence.early(5.0)
    cadence.training_s = 200.0
    assert not cadence.early(5.0)
    assert cadence.plan(100, 5.0) == 101  # at once, but for a step
    assert cadence.early(5.0 + 1e-6)


def test_before_anything_is_known_the_plan_is_a_step():
    cadence = Cadence(None, None, 1.0)
    assert cadence.plan(0, 0.0) == 1
    assert cadence.plan(0, 1.0) == pytest.approx(2e9, rel=1e-6)  # no time was trained: as long as it may take


def test_by_budget_short_epochs_are_not_interrupted():
    cadence = Cadence(None, None, 0.05)
    assert cadence.due_after_epoch(0, 0)
    assert not cadence.due_after_batch(10**6, BETWEEN)
    assert not cadence.due_after_batch(BETWEEN // 2 - 1, BETWEEN + 1)
    assert cadence.due_after_batch(BETWEEN // 2, BETWEEN + 1)
    cadence.next_step = 300
    assert not cadence.due_after_epoch(299, 0)
    assert cadence.due_after_epoch(300, 0)
    assert not cadence.due_after_batch(299, math.inf)
    assert cadence.due_after_batch(300, math.inf)


def test_a_state_is_loaded_and_forgotten():
    cadence = Cadence(None, None, 0.05)
    other = Cadence(None, None, 0.05)
    state = {"next_step": 7, "measuring_s": 1.5, "training_s": 2.5, "steps": 3}
    cadence.load_state_dict(state)
    assert cadence.state_dict() == state
    cadence.forget()
    assert cadence.state_dict() == other.state_dict() == dict.fromkeys(state, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((None, None, 0), r"share of the training time in \(0, 1\], got 0"),
        ((None, None, 1.01), "got 1.01"),
        ((0, None, 0.05), "every_n_epochs must be at least 1, got 0"),
        ((None, 0, 0.05), "every_n_steps must be at least 1, got 0"),
        ((1, 1, 0.05), "give every_n_epochs or every_n_steps, not both"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Cadence(*settings)


@pytest.mark.parametrize("settings", [(1, None, 1), (None, 1, 1e-9)])
def test_settings_at_the_ends_of_their_ranges_are_accepted(settings):
    Cadence(*settings)
