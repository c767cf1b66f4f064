"""What measuring callbacks share, moment by moment, with a Trainer that only answers what it is asked."""

import math
from types import SimpleNamespace

import pytest
import torch
from fake_runs import Means, Net, X, after_batch, begin_run, epochs, run_of, trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from memzoo.callbacks import AttractorCallback
from memzoo.callbacks.step_loss import StepLoss
from memzoo.callbacks.tracked_examples import KEPT
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.modules.self_map import like_parameters

# When -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "accumulate", "automatic", "loss"),
    [
        (torch.tensor(0.5), 1, True, 0.5),
        (torch.tensor([0.5]), 1, True, 0.5),
        ({"loss": torch.tensor(0.5)}, 1, True, 0.5),
        (torch.tensor(0.5), 4, True, 2.0),  # its share of a step
        (torch.tensor(0.5), 4, False, 0.5),  # the module steps by itself
        (torch.tensor([0.5, 0.5]), 1, True, math.nan),
        ({}, 4, True, math.nan),
        (None, 1, True, math.nan),
    ],
)
def test_the_loss_of_a_step_is_read_from_the_outputs(outputs, accumulate, automatic, loss):
    callback, run, module = begin_run(Means(X, every_n_steps=1), trainer(accumulate_grad_batches=accumulate))
    module.automatic_optimization = automatic
    after_batch(callback, run, module, 1, loss=outputs)
    assert callback.history[-1]["loss"] == pytest.approx(loss, nan_ok=True)


def test_a_loss_that_was_handed_out_is_not_changed():
    callback, run, module = begin_run(Means(X, every_n_steps=1))
    run.strategy.reduce = lambda value, reduce_op: {"mean": value.mul_(3)}[reduce_op]
    loss = torch.tensor(2.0)
    module.automatic_optimization = False
    after_batch(callback, run, module, 1, loss=loss)
    assert loss == 2
    assert callback.history[-1]["loss"] == 6


def test_by_steps_each_step_is_measured_once():
    callback, run, module = begin_run(Means(X, every_n_steps=2))
    for batch, step in enumerate((1, 2, 2, 3, 4, 4)):  # some batches only accumulate
        after_batch(callback, run, module, step, batch_idx=batch)
    assert [row["step"] for row in callback.history] == [2, 4]
    expected = [
        ("means/mean", True, False, False),
        ("means/count", True, False, False),
    ] * 2
    assert [
        (key, options["on_step"], options["on_epoch"], options["logger"]) for key, _, options in module.logged
    ] == expected
    assert [value for _, value, _ in module.logged] == [5.5, 6, 5.5, 6]
    assert {options["batch_size"] for *_, options in module.logged} == {1}


def test_by_steps_the_last_batch_is_measured_too():
    callback, run, module = begin_run(Means(X, every_n_steps=3))
    after_batch(callback, run, module, 3, batch_idx=2)
    assert [row["step"] for row in callback.history] == [3]


def test_by_budget_the_last_batch_is_left_to_the_end_of_the_epoch():
    callback, run, module = begin_run(Means(X, budget=1.0), trainer(num_training_batches=300))
    after_batch(callback, run, module, 300, batch_idx=299)
    assert callback.history == []
    callback.on_train_epoch_end(run, module)
    assert [row["step"] for row in callback.history] == [300]
    other, run, module = begin_run(Means(X, budget=1.0), trainer(num_training_batches=300))
    after_batch(other, run, module, 299, batch_idx=298)
    assert [row["step"] for row in other.history] == [299]


def test_the_first_epoch_every_nth_and_the_last_are_measured():
    callback, run, module = begin_run(Means(X, every_n_epochs=3), trainer(max_epochs=8))
    epochs(callback, run, module, 8)
    expected = [(3, 0), (9, 2), (18, 5), (24, 7)]
    assert [(row["step"], row["epoch"]) for row in callback.history] == expected
    keys = [(key, options["prog_bar"]) for key, _, options in module.logged]
    assert keys == [("means/mean", False), ("means/count", True)] * 4
    assert all(options["on_epoch"] and not options["sync_dist"] for *_, options in module.logged)


def test_the_last_of_several_validations_in_an_epoch_measures():
    callback, run, module = begin_run(Means(X, every_n_epochs=2), trainer(max_epochs=5))
    epochs(callback, run, module, 4, validations=3)
    assert [row["step"] for row in callback.history] == [1, 6, 12]


def test_a_sanity_check_measures_nothing():
    callback, run, module = begin_run(Means(X), trainer(sanity_checking=True))
    callback.on_validation_epoch_end(run, module)
    assert callback.history == []
    run.state.fn = "predict"
    run.sanity_checking = False
    callback.on_validation_epoch_end(run, module)
    assert callback.history == []
    run.state.fn = "fit"
    callback.on_validation_epoch_end(run, module)
    assert len(callback.history) == 1


@pytest.mark.parametrize(
    ("monitor", "measured"),
    [("means/mean", [3, 6, 9, 12]), ("meanwhile/mean", [3]), ("loss", [3])],
)
def test_a_monitored_key_is_measured_at_every_epoch_whatever_the_budget(monitor, measured):
    run = trainer(callbacks=[EarlyStopping(monitor)])
    callback, run, module = begin_run(Means(X, budget=1e-9), run)
    epochs(callback, run, module, 4)
    assert [row["step"] for row in callback.history] == measured


def test_a_monitored_key_keeps_a_cadence_that_was_asked_for():
    with pytest.warns(UserWarning, match=r"EarlyStopping reads means/mean after every epoch, but Means"):
        callback, run, module = begin_run(Means(X, every_n_epochs=3), trainer(callbacks=[EarlyStopping("means/mean")]))
    epochs(callback, run, module, 5)
    assert [row["step"] for row in callback.history] == [3, 9]


class Drawing(nn.Linear):
    def forward(self, x):
        return super().forward(x) + torch.randn_like(x)


def test_a_map_with_two_answers_is_refused_and_the_generator_is_restored():
    with pytest.raises(NotASelfMapError, match="two answers to one image"):
        begin_run(Means(X), module=Net(Drawing(2, 2)))
    module = Net()
    state = torch.get_rng_state()
    begin_run(AttractorCallback(X, torch.rand_like), module=module)
    assert torch.equal(torch.get_rng_state(), state)


def test_times_are_counted_without_the_measurements(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("memzoo.callbacks.cadence.time", SimpleNamespace(monotonic=lambda: clock.now))
    callback, run, module = begin_run(Means(X, budget=0.5), trainer(global_step=4))
    measure = callback.measure_part

    def slow(*arguments):
        clock.now += 2.0
        return measure(*arguments)

    monkeypatch.setattr(callback, "measure_part", slow)
    clock.now += 0.25
    after_batch(callback, run, module, 4, batch_idx=1)
    assert callback.cadence.training_s == 0.25
    clock.now += 9.75
    after_batch(callback, run, module, 5, batch_idx=2)
    callback.on_train_epoch_end(run, module)
    expected = {"next_step": 6, "measuring_s": 2.0, "training_s": 10.0, "steps": 1}
    assert callback.cadence.state_dict() == expected
    assert callback.history[-1]["seconds"] == 2.0
    clock.now += 5.0
    after_batch(callback, run, module, 7)
    assert callback.cadence.training_s == 15.0
    assert callback.cadence.steps == 3
    state = callback.state_dict()

    other = Means(X, budget=0.5)
    run = trainer(global_step=7)
    module = Net()
    run.callbacks = [other]
    other.setup(run, module, "fit")
    other.load_state_dict(state)  # as a resumed run does
    clock.now += 1000.0
    other.on_train_start(run, module)
    clock.now += 3.0
    after_batch(other, run, module, 8)
    assert other.cadence.training_s == 18.0
    assert other.cadence.steps == 4
    assert other.history == callback.history
    assert other.history is not state["history"]


@pytest.mark.filterwarnings("ignore:EarlyStopping reads means/count after every epoch, but Means")
@pytest.mark.parametrize("settings", [{"every_n_epochs": 5}, {"every_n_steps": 500}, {"budget": 1e-9}])
def test_a_monitor_finds_its_key_although_the_resumed_row_lacks_it(settings):
    callback = Means(X, **settings)
    run = trainer(global_step=3, callbacks=[EarlyStopping("means/count"), callback])
    module = Net()
    callback.setup(run, module, "fit")
    row = {"step": 3, "epoch": 0, "loss": 0.5, "means/mean": 5.5, "seconds": 0.1}  # an earlier version did not count
    callback.load_state_dict(callback.state_dict() | {"history": [row]})
    callback.on_train_start(run, module)
    callback.on_train_epoch_end(run, module)  # of the epoch in whose validation the checkpoint was written
    assert {key: value for key, value, _ in module.logged} == {"means/mean": 5.5, "means/count": 6}
    assert [row["step"] for row in callback.history] == [3, 3]
    run.current_epoch = 1
    after_batch(callback, run, module, 4)
    callback.on_train_epoch_end(run, module)
    assert len(callback.history) == (3 if "budget" in settings else 2)  # by the budget, a monitor has every epoch


def test_a_measurement_that_would_break_the_budget_is_put_off(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("memzoo.callbacks.cadence.time", SimpleNamespace(monotonic=lambda: clock.now))
    callback, run, module = begin_run(Means(X, budget=0.1))
    clock.now = 1.0
    after_batch(callback, run, module, 1, batch_idx=2)
    callback.on_train_epoch_end(run, module)
    callback.history[-1]["seconds"] = 1.0  # it was a costly one
    callback.cadence.next_step = 0
    module.logged.clear()
    after_batch(callback, run, module, 2, batch_idx=2)
    callback.on_train_epoch_end(run, module)
    assert [row["step"] for row in callback.history] == [1]
    assert callback.cadence.next_step == callback.cadence.plan(2, 1.0) > 3
    assert not module.logged


# The end --------------------------------------------------------------------------------------------------------------


def close_run(callback, run, module, *, change=False):
    if change:
        nn.init.zeros_(module.layer.weight)
    run.current_epoch += 1  # Lightning counts the last epoch as done
    callback.on_train_end(run, module)
    return [(row["step"], row["epoch"]) for row in callback.history]


def test_the_closing_state_is_measured_once():
    callback, run, module = begin_run(Means(X, every_n_epochs=1), trainer(max_epochs=2))
    epochs(callback, run, module, 2)
    assert close_run(callback, run, module) == [(3, 0), (6, 1)]
    assert callback.advised == 1
    assert callback.stopping_reason == "max_epochs=2 reached"
    assert callback.table().splitlines()[-1] == "The run ended: max_epochs=2 reached."


def test_other_weights_at_the_end_are_measured_again():
    callback, run, module = begin_run(Means(X, every_n_epochs=1), trainer(max_epochs=2))
    epochs(callback, run, module, 2)
    loss = callback.history[-1]["loss"] = 0.25
    callback._loss = StepLoss()  # the last step had no loss
    expected = [(3, 0), (6, 1), (6, 1)]
    assert close_run(callback, run, module, change=True) == expected
    assert callback.history[-1]["loss"] == loss  # that of the same step


def test_a_run_that_ends_between_two_measurements_is_measured_and_logged():
    logged = []
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.append((values, step)))
    callback, run, module = begin_run(Means(X, every_n_epochs=10), trainer(loggers=[logger]))
    epochs(callback, run, module, 3)
    values = {"means/mean": 5.5, "means/count": 6.0}
    assert logged == [(values | {"epoch": 0}, 2)]
    assert close_run(callback, run, module) == [(3, 0), (9, 2)]
    assert logged[1:] == [(values | {"epoch": 2}, 8)]


@pytest.mark.parametrize(
    ("error", "world_size", "measured"),
    [(KeyboardInterrupt(), 1, 1), (KeyboardInterrupt(), 2, 0), (ValueError(), 1, 0)],
)
def test_an_interrupted_run_is_closed_by_one_process(error, world_size, measured):
    callback, run, module = begin_run(Means(X))
    run.world_size = world_size
    callback.on_exception(run, module, error)
    assert len(callback.history) == measured
    assert callback.advised == measured
    if measured:
        assert callback.stopping_reason == "interrupted (KeyboardInterrupt)"
        callback.on_exception(run, module, error)  # while it closes
        assert callback.advised == 1


def test_an_interruption_before_the_training_is_not_measured():
    callback = Means(X)
    run = trainer()
    module = Net()
    callback.on_exception(run, module, KeyboardInterrupt())
    assert callback.history == []


def test_listening_callbacks_hear_of_every_measurement():
    told = []
    listener = SimpleNamespace(on_measurement=lambda run, module, source: told.append(source.history[-1]["step"]))
    callback, run, module = begin_run(Means(X, every_n_steps=1), trainer(callbacks=[listener]))
    after_batch(callback, run, module, 1)
    after_batch(callback, run, module, 2)
    assert told == [1, 2]


def test_the_table_is_printed_where_it_is_wanted(monkeypatch):
    printed = []
    monkeypatch.setattr("memzoo.callbacks.measuring.rank_zero_info", printed.append)
    for verbose in (False, True):
        callback, run, module = begin_run(Means(X, verbose=verbose))
        close_run(callback, run, module)
        assert len(printed) == verbose
    assert printed[0].startswith("Means among 6 examples:")
    assert "Weights measured" not in printed[0]
    callback.measured_weights = "averaged (EMA)"
    assert "\nWeights measured: averaged (EMA).\n" in callback.table()


# What fails -----------------------------------------------------------------------------------------------------------


def test_a_network_that_is_not_finite_has_the_values_for_such_networks():
    callback, run, module = begin_run(Means(X, every_n_steps=1))
    callback.error = NonFiniteError("it grew")
    nn.init.constant_(module.layer.bias, torch.inf)
    with pytest.warns(UserWarning, match=r"nothing is measured on a network that is not finite: it grew"):
        after_batch(callback, run, module, 1)
    row = callback.history[-1]
    assert row["reason"] == "NonFiniteError: it grew"
    assert row["means/count"] == 0
    assert math.isnan(row["means/mean"])
    assert "means/extra" not in row


class Stopped(BaseException):
    """Is no Exception, as the outcomes of some frameworks are none."""


@pytest.mark.parametrize("kind", [RuntimeError, torch.linalg.LinAlgError, torch.OutOfMemoryError, KeyError, Stopped])
@pytest.mark.parametrize("first", [True, False])
def test_a_failure_costs_its_row_of_the_history_alone(kind, first):
    callback, run, module = begin_run(Means(X, every_n_steps=1))
    draws = torch.get_rng_state()
    if not first:
        after_batch(callback, run, module, 1)
    logged = len(module.logged)
    callback.combine_parts = fail_with(kind("no room"))
    with pytest.warns(UserWarning, match=rf"a measurement failed, training goes on: {kind.__name__}: .*no room"):
        after_batch(callback, run, module, 2)
    row = callback.history[-1]
    assert math.isnan(row["means/count"])
    assert math.isnan(row["means/mean"])
    assert row["reason"].startswith(f"{kind.__name__}: ")
    assert len(module.logged) == logged + 2 * first  # monitors keep the last value: NaN would end the run
    assert torch.equal(draws, torch.get_rng_state())
    assert module.training
    del callback.combine_parts
    after_batch(callback, run, module, 3)
    assert callback.history[-1]["means/count"] == 6
    assert "reason" not in callback.history[-1]


def fail_with(error):
    def fail(*arguments, **options):
        torch.rand(3)
        raise error

    return fail


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_whoever_wants_to_end_the_process_may(kind):
    callback, run, module = begin_run(Means(X, every_n_steps=1))
    callback.combine_parts = fail_with(kind())
    with pytest.raises(kind):
        after_batch(callback, run, module, 1)


def test_a_logger_that_fails_is_warned_of_once_and_the_others_get_the_values():
    sent = []
    broken = SimpleNamespace(log_metrics=fail_with(OSError("disk full")))
    whole = SimpleNamespace(log_metrics=lambda values, step: sent.append(step))
    callback, run, module = begin_run(Means(X, every_n_epochs=1), trainer(loggers=[broken, whole]))
    draws = torch.get_rng_state()
    with pytest.warns(UserWarning, match=r"SimpleNamespace failed, it gets no values of means, .* disk full") as said:
        epochs(callback, run, module, 3)
    assert len(said) == 1
    assert sent == [2, 5, 8]
    assert torch.equal(draws, torch.get_rng_state())  # loggers may draw names at random


# Outside of a run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["on_validation_epoch_end", "on_test_epoch_end"])
def test_outside_of_a_run_values_are_logged_and_not_kept(moment):
    callback = Means(X, rotate=3)
    module = Net()
    run = trainer(state=SimpleNamespace(fn="validate"))
    getattr(callback, moment)(run, module)
    assert callback.history == []
    expected = [("means/mean", 5.5), ("means/count", 6)]
    assert [(key, value) for key, value, _ in module.logged] == expected
    assert all(
        options["on_epoch"] and not options["sync_dist"] and options["batch_size"] == 1 for *_, options in module.logged
    )
    nobody = Means()
    module = Net()
    getattr(nobody, moment)(run, module)
    assert not module.logged


def test_a_module_is_measured_without_a_run():
    callback = Means(X)
    module = Net().double()
    assert callback.measure(module) == {"means/mean": 5.5, "means/count": 6.0, "means/extra": 7.0}
    assert callback.about() == "6 examples"
    assert module.training
    with pytest.raises(ValueError, match="Means tracks no examples yet: pass examples=, or fit a module first"):
        Means().measure(module)


def test_points_follow_the_parameters():
    x = torch.rand(2, 2, dtype=torch.float64)
    assert like_parameters(x, nn.Linear(2, 2)).dtype == torch.float32
    assert like_parameters(x.float(), nn.Linear(2, 2).double()).dtype == torch.float64
    assert like_parameters(x, nn.Linear(2, 2).half()).dtype == torch.float32
    assert like_parameters(x, nn.Identity()).dtype == torch.float64


# What is kept ---------------------------------------------------------------------------------------------------------


def test_chosen_examples_travel_unless_they_are_large():
    for numbers, kept in ((KEPT, True), (KEPT + 2, False)):
        callback = Means()
        callback.examples = torch.zeros(1).expand(numbers // 2, 2)
        assert ("examples" in callback.state_dict()["kept"]) is kept
    given = Means(X)
    given.measure(Net())
    assert given.state_dict()["kept"] == {}
    assert Means().state_dict()["kept"] == {}


def test_examples_of_a_checkpoint_are_tracked_again():
    callback, run, module = begin_run(Means(every_n_steps=1))
    after_batch(callback, run, module, 1)
    other = Means()
    other.load_state_dict(callback.state_dict())
    assert torch.equal(other.examples, X)
    assert other.state_dict()["turn"] == 1
    other.begin(run_of(other), Net())
    assert other.examples is None
    assert other.state_dict()["turn"] == 0
    given = Means(X)
    given.load_state_dict(callback.state_dict() | {"kept": {}})
    assert given.measure(Net())["means/count"] == 6


def test_current_weights_are_measured_where_no_callback_averages():
    callback, *_ = begin_run(Means(X))
    assert callback.measured_weights == "current"
    assert callback.state_key != Means(name="other").state_key
