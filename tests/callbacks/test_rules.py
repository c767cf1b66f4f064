"""Rules and keepers, told of measurements and moments one by one, without a run."""

import math

import pytest
import torch
from fake_runs import Corners, Net, X, bare_trainer, begin_run
from torch import nn

from memzoo.callbacks import AttractorCallback, ContractionCallback, KeepSteps, StopBeforeMemorized, StopWhenMemorized


def source_that_measured(fraction, recovered=0.0, residual=0.1, name="attractor"):
    source = AttractorCallback(name=name)
    source.history = [
        {f"{name}/fraction": fraction, f"{name}/recovered": recovered, f"{name}/residual": residual, "step": 1}
    ]
    return source


def count_until_stop(rule, values, **options):
    """Count the values after which the rule stops the run; None where it does not."""
    run = bare_trainer()
    for number, value in enumerate(values, 1):
        rule.on_measurement(run, nn.Linear(1, 1), source_that_measured(value, **options))
        if run.should_stop:
            return number
    return None


@pytest.mark.parametrize(
    ("share", "measurements", "values", "stops"),
    [
        (1.0, 2, [1, 1], 2),
        (1.0, 2, [1, 0.9, 1, 1], 4),
        (1.0, 1, [0.99, 1], 2),
        (0.9, 1, [0.9], 1),
        (0.9, 1, [0.9 - 1e-7], 1),  # a share that float32 rounds down
        (0.9, 1, [0.9 - 1e-5], None),
        (0.5, 3, [0.6, 0.7, 0.8], 3),
        (0.5, 3, [0.6, math.nan, 0.8, 0.8], None),
    ],
)
def test_a_run_stops_after_so_many_measurements_in_a_row(share, measurements, values, stops):
    rule = StopWhenMemorized(share, measurements=measurements)
    assert count_until_stop(rule, values) == stops
    assert (rule.stopped_because is not None) == (stops is not None)
    if stops:
        assert rule.stopped_because.startswith("StopWhenMemorized: attractor/fraction = ")
        assert rule.stopped_because.endswith(f">= {share:.3g} in {measurements} measurements")


def test_what_was_measured_on_the_examples_so_far_is_not_counted():
    source, run, module = begin_run(AttractorCallback(starts=X, steps=2), module=Net(Corners()), batches=[X])
    source.history = source_that_measured(1.0).history
    rule = StopWhenMemorized(measurements=1)
    rule.on_measurement(run, module, source)
    assert rule.in_a_row == 0
    assert not run.should_stop
    source._tracked.end_epoch()
    source._choose(run, module)
    rule.on_measurement(run, module, source)
    assert rule.in_a_row == 1
    assert run.should_stop


def test_a_rule_hears_its_own_callback_alone():
    rule = StopWhenMemorized(measurements=1)
    run = bare_trainer()
    rule.on_measurement(run, nn.Linear(1, 1), source_that_measured(1.0, name="other"))
    rule.on_measurement(run, nn.Linear(1, 1), ContractionCallback(name="attractor"))
    assert not run.should_stop
    other = StopWhenMemorized(measurements=1, measure="recovered")
    other.on_measurement(run, nn.Linear(1, 1), source_that_measured(1.0, recovered=0.5))
    assert not run.should_stop
    other.on_measurement(run, nn.Linear(1, 1), source_that_measured(0.0, recovered=1.0))
    assert run.should_stop


def test_a_run_that_ends_anyway_was_not_ended_by_the_rule():
    rule = StopWhenMemorized(measurements=1)
    rule.on_measurement(bare_trainer(should_stop=True), nn.Linear(1, 1), source_that_measured(1.0))
    assert rule.stopped_because is None
    assert rule.in_a_row == 1


@pytest.mark.parametrize("kind", ["fraction", "recovered"])
@pytest.mark.parametrize(
    ("share", "value", "stops"), [(0, 0, False), (0, 0.1, True), (0.2, 0.2, False), (0.2, 0.21, True)]
)
def test_a_run_stops_before_more_is_memorized(kind, share, value, stops):
    rule = StopBeforeMemorized(share)
    run = bare_trainer()
    module = nn.Linear(1, 1)
    rule.on_measurement(run, module, source_that_measured(**{"fraction": 0.0, kind: value}))
    assert run.should_stop is stops
    if stops:
        said = f"StopBeforeMemorized: attractor/{kind} = {value:.3g} > {share:.3g} at step 7"
        assert rule.stopped_because == said
    assert rule.clean_step == (-1 if stops else 7)
    assert (rule.clean is None) is stops


def test_the_last_clean_weights_are_put_back():
    rule = StopBeforeMemorized()
    run = bare_trainer()
    module = nn.Linear(2, 2)
    rule.on_measurement(run, module, source_that_measured(0.0))
    clean = {name: value.clone() for name, value in module.state_dict().items()}
    nn.init.zeros_(module.weight)
    run.global_step = 9
    rule.on_measurement(run, module, source_that_measured(math.nan))  # says nothing
    rule.on_measurement(run, module, source_that_measured(0.0, residual=math.nan))
    assert rule.clean_step == 7
    rule.on_train_end(run, module)  # a run that ends by itself keeps its weights
    assert not module.weight.any()
    rule.on_measurement(run, module, source_that_measured(0.5))
    because = rule.stopped_because
    rule.on_measurement(run, module, source_that_measured(0.0))  # once over, nothing is clean any more
    assert (rule.stopped_because, rule.clean_step) == (because, 7)
    rule.on_train_end(run, module)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in clean.items())


def test_a_new_fit_forgets_the_clean_weights_of_the_last_one():
    rule = StopBeforeMemorized()
    assert (rule.clean, rule.clean_step) == (None, -1)
    module = nn.Linear(1, 1)
    rule.on_measurement(bare_trainer(), module, source_that_measured(0.0))
    assert rule.clean_step == 7
    rule.begin(bare_trainer(callbacks=[AttractorCallback(), rule]), module)
    assert (rule.clean, rule.clean_step, rule.stopped_because) == (None, -1, None)


def test_without_restoring_nothing_is_kept():
    rule = StopBeforeMemorized(restore=False)
    run = bare_trainer()
    module = nn.Linear(2, 2)
    rule.on_measurement(run, module, source_that_measured(0.0))
    assert (rule.clean, rule.clean_step) == (None, 7)
    rule.on_measurement(run, module, source_that_measured(0.5))
    before = module.weight.clone()
    rule.on_train_end(run, module)
    assert torch.equal(module.weight, before)


def test_states_go_to_a_fit_alone():
    rule = StopWhenMemorized()
    rule.load_state_dict({"in_a_row": 5})
    assert rule.in_a_row == 5
    assert rule.state_dict() == {"in_a_row": 5}
    rule._stage = "validate"
    rule.load_state_dict({"in_a_row": 6})
    assert rule.in_a_row == 5
    before = StopBeforeMemorized()
    before.load_state_dict({"clean": {"w": torch.ones(1)}, "clean_step": 3})
    assert before.state_dict() == {"clean": before.clean, "clean_step": 3}
    assert StopWhenMemorized(name="a").state_key != StopWhenMemorized(name="b").state_key


def test_a_rule_needs_its_callback_and_all_of_its_examples():
    module = nn.Linear(1, 1)
    for rule in (StopWhenMemorized(), StopBeforeMemorized()):
        with pytest.raises(ValueError, match=r"needs measurements named 'attractor': add AttractorCallback\(\)"):
            rule.begin(bare_trainer(callbacks=[rule]), module)
        with pytest.raises(ValueError, match=r"AttractorCallback\(rotate=2\) measures subsets in turn"):
            rule.begin(bare_trainer(callbacks=[rule, AttractorCallback(rotate=2)]), module)
    named = StopWhenMemorized(name="mine")
    with pytest.raises(ValueError, match=r"add AttractorCallback\(name='mine'\)"):
        named.begin(bare_trainer(callbacks=[named, AttractorCallback()]), module)
    rule = StopWhenMemorized()
    rule.in_a_row = 3
    rule.stopped_because = "before"
    rule.begin(bare_trainer(callbacks=[rule, AttractorCallback()]), module)
    assert (rule.in_a_row, rule.stopped_because) == (0, None)


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        (StopWhenMemorized, {"share": 0}, r"share must lie in \(0, 1\], got 0"),
        (StopWhenMemorized, {"share": 1.1}, r"share must lie in \(0, 1\], got 1.1"),
        (StopWhenMemorized, {"measure": "radius"}, "measure must be one of"),
        (StopWhenMemorized, {"measurements": 0}, "measurements must be at least 1, got 0"),
        (StopBeforeMemorized, {"share": 1}, r"share must lie in \[0, 1\), got 1"),
        (StopBeforeMemorized, {"share": -0.1}, r"share must lie in \[0, 1\), got -0.1"),
        (KeepSteps, {"steps": [0]}, r"count from 1, got \[0\] and \[\]"),
        (KeepSteps, {"epochs": [0]}, r"count from 1, got \[\] and \[0\]"),
    ],
)
def test_settings_of_a_rule_out_of_range_are_refused(rule, settings, message):
    with pytest.raises(ValueError, match=message):
        rule(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # counts begin at 1
        ({"rotate": 0}, "rotate is a number of subsets, at least 1, got 0"),
        ({"max_examples": 0}, "max_examples must be at least 1, got 0"),
        ({"max_starts": 0}, "max_starts must be at least 1, got 0"),
        ({"starts": "test"}, "starts must be a tensor, a function, 'validation' or 'noise'"),
        ({"examples": torch.full((1, 2), torch.nan)}, "examples holds NaN"),
        ({"starts": torch.full((1, 2), torch.nan)}, "starts holds NaN"),
        ({"steps": -1}, "steps must be a whole number >= 0, got -1"),
    ],
)
def test_settings_of_a_callback_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AttractorCallback(**settings)


def test_a_callback_needs_examples_and_starts_to_measure_outside_of_a_run():
    with pytest.raises(ValueError, match="tracks no examples yet: pass examples="):
        AttractorCallback().measure(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="has no starts yet: pass starts=tensor"):
        AttractorCallback(torch.ones(1, 1)).measure(nn.Linear(1, 1))


def test_settings_at_the_ends_of_their_ranges_are_accepted():
    StopWhenMemorized(1, measurements=1)
    StopBeforeMemorized(0)
    KeepSteps([1], epochs=[1])
    AttractorCallback(rotate=1, max_examples=1, max_starts=1, steps=0)
