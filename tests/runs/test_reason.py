"""Whether a run ends here, and why it has ended."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import EarlyStopping, Timer

from memzoo.runs.reason import ends_here, stopping_reason


def run(**changes):
    known = {
        "max_epochs": -1,
        "max_steps": -1,
        "min_epochs": None,
        "min_steps": None,
        # the fifth epoch is under way, counted from 0
        "current_epoch": 4,
        "global_step": 50,
        "should_stop": False,
        "callbacks": [],
    }
    return SimpleNamespace(**{**known, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"max_epochs": 5},
        {"max_epochs": 0},
        {"max_steps": 50},
        {"should_stop": True},
        {"should_stop": True, "min_epochs": 5},
        {"should_stop": True, "min_steps": 50},
    ],
)
def test_a_run_is_known_to_end_with_this_epoch(changes):
    assert ends_here(run(**changes)) is True


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_epochs": 6},
        {"max_epochs": None},
        {"max_steps": 51},
        {"should_stop": True, "min_epochs": 6},
        {"should_stop": True, "min_steps": 51},
    ],
)
def test_a_run_is_known_to_go_on_after_this_epoch(changes):
    assert ends_here(run(**changes)) is False


def timer(left):
    callback = Timer(duration={"hours": 1})
    callback.time_remaining = lambda: left
    return callback


def early(reason):
    callback = EarlyStopping("loss")
    callback.stopping_reason_message = reason
    return callback


def rule(because):
    return SimpleNamespace(stopped_because=because)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"should_stop": True}, "trainer.should_stop was set"),
        ({"max_epochs": 4}, "max_epochs=4 reached"),
        ({"max_epochs": 0}, "max_epochs=0 reached"),
        # of two limits that are reached, steps come first
        ({"max_steps": 50, "max_epochs": 4}, "max_steps=50 reached"),
        ({"callbacks": [timer(0.0)]}, "max_time reached"),
        ({"callbacks": [early(" no better ")], "max_epochs": 4}, "EarlyStopping: no better"),
        ({"callbacks": [rule("a rule")], "max_steps": 50}, "a rule"),
    ],
)
def test_the_reason_for_the_end_of_a_run_is_named(changes, reason):
    check_reason(run(**changes), reason)


@pytest.mark.parametrize("changes", [{}, {"max_epochs": 5}, {"max_epochs": None}, {"max_steps": 51}])
def test_a_run_within_its_limits_ended_with_the_data(changes):
    check_reason(run(**changes), "the data ended")


@pytest.mark.parametrize("callback", [timer(1.0), timer(None), early(None), rule(None)])
def test_a_callback_that_did_not_stop_the_run_is_no_reason(callback):
    check_reason(run(callbacks=[callback]), "the data ended")


def check_reason(ended, reason):
    assert stopping_reason(ended) == reason
    assert stopping_reason(ended, KeyboardInterrupt()) == "interrupted (KeyboardInterrupt)"
