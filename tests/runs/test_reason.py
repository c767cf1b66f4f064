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
        "current_epoch": 4,
        "global_step": 50,
        "should_stop": False,
        "callbacks": [],
    }
    return SimpleNamespace(**{**known, **changes})


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, False),
        ({"max_epochs": 5}, True),
        ({"max_epochs": 6}, False),
        ({"max_epochs": None}, False),
        ({"max_epochs": 0}, True),
        ({"max_steps": 50}, True),
        ({"max_steps": 51}, False),
        ({"should_stop": True}, True),
        ({"should_stop": True, "min_epochs": 5}, True),
        ({"should_stop": True, "min_epochs": 6}, False),
        ({"should_stop": True, "min_steps": 50}, True),
        ({"should_stop": True, "min_steps": 51}, False),
    ],
)
def test_a_run_is_known_to_end_with_this_epoch(changes, ends):
    assert ends_here(run(**changes)) is ends


def timer(left):
    callback = Timer(duration={"hours": 1})
    callback.time_remaining = lambda: left
    return callback


def early(reason):
    callback = EarlyStopping("loss")
    callback.stopping_reason_message = reason
    return callback


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "the data ended"),
        ({"should_stop": True}, "trainer.should_stop was set"),
        ({"max_epochs": 4}, "max_epochs=4 reached"),
        ({"max_epochs": 0}, "max_epochs=0 reached"),
        ({"max_epochs": 5}, "the data ended"),
        ({"max_epochs": None}, "the data ended"),
        ({"max_steps": 50, "max_epochs": 4}, "max_steps=50 reached"),
        ({"max_steps": 51}, "the data ended"),
        ({"callbacks": [timer(0.0)]}, "max_time reached"),
        ({"callbacks": [timer(1.0)]}, "the data ended"),
        ({"callbacks": [timer(None)]}, "the data ended"),
        ({"callbacks": [early(" no better ")], "max_epochs": 4}, "EarlyStopping: no better"),
        ({"callbacks": [early(None)]}, "the data ended"),
        ({"callbacks": [SimpleNamespace(stopped_because="a rule")], "max_steps": 50}, "a rule"),
        ({"callbacks": [SimpleNamespace(stopped_because=None)]}, "the data ended"),
    ],
)
def test_the_reason_for_the_end_of_a_run_is_named(changes, reason):
    assert stopping_reason(run(**changes)) == reason
    assert stopping_reason(run(**changes), KeyboardInterrupt()) == "interrupted (KeyboardInterrupt)"
