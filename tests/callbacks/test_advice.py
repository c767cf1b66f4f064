"""What a run is told at its end, from a history alone."""

import math
import warnings

import pytest
from torch import nn

from memzoo.callbacks.advice import give_advice


def row(step, loss, fraction=0.5, residual=0.0):
    return {"step": step, "loss": loss, "watch/fraction": fraction, "watch/residual": residual}


def collect_warnings(history, module=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        give_advice(nn.Linear(1, 1) if module is None else module, history, "watch")
    return [str(warning.message) for warning in caught]


def test_a_loss_that_halves_over_the_last_quarter_is_still_falling():
    history = [row(40, 9.0), row(75, 1.0), row(76, 0.7), row(100, 0.49)]
    (text,) = collect_warnings(history)
    assert "still falling when the run ended (1.0e+00 at step 75, 4.9e-01 at step 100)" in text
    assert not collect_warnings([row(75, 1.0), row(100, 0.51)])
    assert not collect_warnings([row(75, 1.0), row(100, 0.5)])


def test_what_is_memorized_need_not_be_trained_on():
    assert not collect_warnings([row(75, 1.0), row(100, 0.1, fraction=1.0)])


@pytest.mark.parametrize("step", [25, 75])
def test_the_last_loss_is_compared_with_one_of_the_middle_of_the_run(step):
    assert collect_warnings([row(step, 1.0), row(100, 0.1)])


def test_a_run_of_few_steps_is_judged_as_one_of_many():
    assert collect_warnings([row(0, 9.0), row(1, 1.0), row(4, 0.1)])


@pytest.mark.parametrize("step", [0, 24, 76])
def test_nothing_is_said_from_a_loss_too_early_or_too_late(step):
    assert not collect_warnings([row(step, 1.0), row(100, 0.1)])


@pytest.mark.parametrize(
    ("before", "last"), [(0.0, -1.0), (math.nan, 0.1), (math.inf, 0.1), (1.0, math.nan), (1.0, 0.0)]
)
def test_nothing_is_said_of_losses_that_have_no_ratio(before, last):
    assert not collect_warnings([row(50, before), row(100, last)])


def test_a_run_of_one_measurement_says_nothing():
    assert not collect_warnings([row(100, 0.1)])


@pytest.mark.parametrize("part", [nn.Dropout(0.5), nn.BatchNorm1d(1)])
def test_a_network_that_differs_in_training_is_warned_of(part):
    history = [row(75, 1.0), row(100, 0.009, residual=0.11)]
    (text,) = collect_warnings(history, nn.Sequential(part))
    assert text.startswith(f"{type(part).__name__} make the network another one in training than in eval mode")
    assert "relative residual of 0.11" in text


@pytest.mark.parametrize("part", [nn.Dropout(0.0), nn.Dropout(0.5).eval(), nn.Linear(1, 1)])
def test_a_network_that_does_not_differ_in_training_is_not_warned_of(part):
    # drops nothing; was trained as it was measured; is the same in both modes
    assert not collect_warnings([row(100, 0.009, residual=0.5)], part)


@pytest.mark.parametrize(
    ("residual", "loss"),
    [
        (0.1, 0.009),  # reproduces its examples all the same
        (math.nan, 0.009),
        (0.5, 0.011),  # reproduces them in neither mode
    ],
)
def test_a_network_that_reproduces_as_much_in_both_modes_is_not_warned_of(residual, loss):
    module = nn.Sequential(nn.Dropout(0.5))
    assert not collect_warnings([row(100, loss, residual=residual)], module)
