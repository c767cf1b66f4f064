"""What measuring callbacks share, moment by moment, with a trainer that only answers what it is asked."""

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.callbacks.measuring import KEPT, MeasuringCallback
from memzoo.callbacks.options import MeasuringOptions
from memzoo.callbacks.quantities import Quantity
from memzoo.callbacks.shards import Part
from memzoo.callbacks.step_loss import StepLoss
from memzoo.callbacks.tracked_examples import EXAMPLES, WIDE_EXAMPLES
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.modules.self_map import like_parameters

X = torch.arange(12.0).reshape(6, 2)


class Means(MeasuringCallback):
    """Measures the mean of the tracked examples, and counts them."""

    KIND = "means"
    QUANTITIES = (
        Quantity("mean", "mean", ".2f", "Mean of all entries", logged_by=("means",)),
        Quantity("count", "count", ".0f", "Number", logged_by=("means",), progress_bar=("means",), if_not_finite=0.0),
    )
    TITLE = "Means"

    def __init__(self, examples=None, **settings):
        super().__init__(MeasuringOptions(examples=examples, **{"verbose": False, "name": "means", **settings}))
        self.error = None
        self.advised = 0

    def measure_part(self, f, examples, part):
        if self.error is not None:
            raise self.error
        return examples[part.index :: part.of]

    def combine_parts(self, parts, examples):
        joined = torch.cat(parts)
        return {"extra": 7, "count": len(joined), "mean": joined.mean()}

    def advise(self, module):
        self.advised += 1


class Net(LightningModule):
    def __init__(self, layer=None):
        super().__init__()
        self.layer = nn.Linear(2, 2) if layer is None else layer
        self.logged = []

    def forward(self, x):
        return self.layer(x)

    def log(self, key, value, **options):
        self.logged.append((key, value, options))


def trainer(**known):
    loader = DataLoader(TensorDataset(X), batch_size=2)
    strategy = SimpleNamespace(
        broadcast=lambda value: value,
        reduce=lambda value, reduce_op: value.mul_(1),  # in place, as the real ones do
        reduce_boolean_decision=lambda value: value,
    )
    defaults = {
        "strategy": strategy,
        "callbacks": [],
        "loggers": [],
        "world_size": 1,
        "global_rank": 0,
        "is_global_zero": True,
        "global_step": 0,
        "current_epoch": 0,
        "num_training_batches": 3,
        "accumulate_grad_batches": 1,
        "is_last_batch": True,
        "sanity_checking": False,
        "should_stop": False,
        "max_epochs": 100,
        "max_steps": -1,
        "min_epochs": None,
        "min_steps": None,
        "state": SimpleNamespace(fn="fit"),
        "train_dataloader": loader,
    }
    return SimpleNamespace(**{**defaults, **known})


def begun(callback, run=None, module=None):
    """A callback in a run that has just started, with its run and its module."""
    run, module = run or trainer(), module or Net()
    run.callbacks = [*run.callbacks, callback]
    callback.setup(run, module, "fit")
    callback.on_train_start(run, module)
    return callback, run, module


def after_batch(callback, run, module, step, *, loss=None, batch_idx=0):
    run.global_step = step
    callback.on_train_batch_end(run, module, loss, None, batch_idx)


# Whom to track --------------------------------------------------------------------------------------------------------


def test_numbers_of_examples():
    assert (EXAMPLES, WIDE_EXAMPLES, KEPT) == (32, 8, 2**21)  # as the documentation of the callbacks says
    data = DataLoader(TensorDataset(torch.rand(200, 2)))
    for settings, count in (
        ({}, 32),
        ({"rotate": 3}, 96),
        ({"max_examples": 5}, 5),
        ({"max_examples": 5, "rotate": 2}, 10),
    ):
        callback, *_ = begun(Means(**settings), trainer(train_dataloader=data, num_training_batches=200))
        assert len(callback.examples) == count
    callback, *_ = begun(Means(X))
    assert torch.equal(callback.examples, X)


class Wide(nn.Module):
    """Nowhere narrower than its input, and too large for a full Jacobian."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return torch.tanh(self.scale * x)


@pytest.mark.parametrize(
    ("width", "count", "settings", "rows"),
    [
        (257, 32, {}, range(0, 32, 4)),
        (257, 17, {}, range(0, 17, 3)),
        (257, 9, {}, range(0, 9, 2)),
        (257, 8, {}, range(8)),  # no more than are affordable
        (257, 32, {"rotate": 2}, range(0, 32, 2)),
        (257, 32, {"rotate": 4}, range(32)),
        (257, 32, {"max_examples": 32}, range(32)),  # chosen by the user
        (256, 32, {}, range(32)),  # the full Jacobian is cheap
    ],
)
def test_of_wide_maps_fewer_examples_are_tracked(width, count, settings, rows):
    x = torch.rand(count, width)
    run = trainer(train_dataloader=DataLoader(TensorDataset(x)), num_training_batches=count)
    callback, *_ = begun(Means(**settings), run, Net(Wide()))
    assert torch.equal(callback.examples, x[list(rows)])


def test_examples_that_are_given_are_all_tracked():
    x = torch.rand(20, 257)
    assert len(begun(Means(x), module=Net(Wide()))[0].examples) == 20


def test_data_that_cannot_be_read_name_the_callback():
    for data in (TensorDataset(torch.arange(6)), [], TensorDataset(torch.rand(0, 2))):
        with pytest.raises((TypeError, ValueError), match=r"Means could not read the tracked examples|at least one"):
            begun(Means(), trainer(train_dataloader=DataLoader(data)))

    class Broken(TensorDataset):
        def __getitem__(self, index):
            raise IndexError("no such row")

    with pytest.raises(TypeError, match="Means could not read the tracked examples: no such row"):
        begun(Means(), trainer(train_dataloader=DataLoader(Broken(X))))
    with pytest.raises(NonFiniteError, match="the tracked examples holds NaN"):
        begun(Means(), trainer(train_dataloader=DataLoader(TensorDataset(X * torch.nan))))


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(X)


def harvesting(**settings):
    return begun(Means(**settings), trainer(train_dataloader=DataLoader(Stream())))


def test_of_a_stream_batches_are_taken_until_there_are_enough():
    callback, run, module = harvesting(max_examples=3)
    assert callback.examples is None
    first = X[:2].clone()
    callback.on_train_batch_start(run, module, (first,), 0)
    first.zero_()  # the training may change its batch
    assert callback.examples is None
    after_batch(callback, run, module, 1)
    assert callback.history == []  # nothing is tracked yet
    callback.on_train_batch_start(run, module, (X[2:4],), 1)
    assert torch.equal(callback.examples, X[:3])
    callback.on_train_batch_start(run, module, ("not looked at",), 2)
    exact, run, module = harvesting(max_examples=2)
    exact.on_train_batch_start(run, module, (X[:2],), 0)
    assert torch.equal(exact.examples, X[:2])


def test_a_short_stream_is_measured_with_what_came():
    callback, run, module = harvesting()
    callback.on_train_epoch_end(run, module)
    assert callback.examples is None
    assert not module.logged
    callback.on_train_end(run, module)
    assert callback.history == []
    callback, run, module = harvesting()
    callback.on_train_batch_start(run, module, (X,), 0)
    after_batch(callback, run, module, 1)
    callback.on_train_epoch_end(run, module)
    assert torch.equal(callback.examples, X)
    assert [row["step"] for row in callback.history] == [1]
    callback, run, module = harvesting()
    callback.on_train_batch_start(run, module, (X,), 0)
    after_batch(callback, run, module, 1)
    callback.on_train_end(run, module)  # the run ended within its first epoch
    assert [row["means/count"] for row in callback.history] == [6]


def test_a_stream_is_refused_at_its_first_batch():
    callback, run, _ = harvesting()
    with pytest.raises(NotASelfMapError, match="forward of Net is no self-map"):
        callback.on_train_batch_start(run, Net(nn.Linear(2, 3)), (X[:1],), 0)
    callback, run, module = harvesting()
    with pytest.raises(TypeError, match=r"Means could not read the tracked examples: samples are torch\.int64"):
        callback.on_train_batch_start(run, module, (X.long(),), 0)


def test_all_processes_decide_together_whether_a_stream_gave_enough():
    callback, run, module = harvesting(max_examples=1)
    run.strategy.reduce_boolean_decision = lambda enough: False
    callback.on_train_batch_start(run, module, (X,), 0)
    assert callback.examples is None
    run.strategy.reduce_boolean_decision = lambda enough: True
    callback.on_train_batch_start(run, module, (X,), 1)
    assert len(callback.examples) == 1


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
def test_the_loss_of_a_step(outputs, accumulate, automatic, loss):
    callback, run, module = begun(Means(X, every_n_steps=1), trainer(accumulate_grad_batches=accumulate))
    module.automatic_optimization = automatic
    after_batch(callback, run, module, 1, loss=outputs)
    assert callback.history[-1]["loss"] == pytest.approx(loss, nan_ok=True)


def test_a_loss_that_was_handed_out_is_not_changed():
    callback, run, module = begun(Means(X, every_n_steps=1))
    run.strategy.reduce = lambda value, reduce_op: {"mean": value.mul_(3)}[reduce_op]
    loss = torch.tensor(2.0)
    module.automatic_optimization = False
    after_batch(callback, run, module, 1, loss=loss)
    assert loss == 2
    assert callback.history[-1]["loss"] == 6


def test_by_steps_each_step_is_measured_once():
    callback, run, module = begun(Means(X, every_n_steps=2))
    for batch, step in enumerate((1, 2, 2, 3, 4, 4)):  # some batches only accumulate
        after_batch(callback, run, module, step, batch_idx=batch)
    assert [row["step"] for row in callback.history] == [2, 4]
    assert [(key, options["on_step"], options["on_epoch"], options["logger"]) for key, _, options in module.logged] == [
        ("means/mean", True, False, False),
        ("means/count", True, False, False),
    ] * 2
    assert [value for _, value, _ in module.logged] == [5.5, 6, 5.5, 6]
    assert {options["batch_size"] for *_, options in module.logged} == {1}


def test_by_steps_the_last_batch_is_measured_too():
    callback, run, module = begun(Means(X, every_n_steps=3))
    after_batch(callback, run, module, 3, batch_idx=2)
    assert [row["step"] for row in callback.history] == [3]


def test_by_budget_the_last_batch_is_left_to_the_end_of_the_epoch():
    callback, run, module = begun(Means(X, budget=1.0), trainer(num_training_batches=300))
    after_batch(callback, run, module, 300, batch_idx=299)
    assert callback.history == []
    callback.on_train_epoch_end(run, module)
    assert [row["step"] for row in callback.history] == [300]
    other, run, module = begun(Means(X, budget=1.0), trainer(num_training_batches=300))
    after_batch(other, run, module, 299, batch_idx=298)
    assert [row["step"] for row in other.history] == [299]


def epochs(callback, run, module, count, *, validations=0):
    for epoch in range(count):
        run.current_epoch = epoch
        for batch in range(3):
            after_batch(callback, run, module, 3 * epoch + batch + 1, batch_idx=batch)
            run.is_last_batch = batch == 2
            if validations:
                callback.on_validation_epoch_end(run, module)
        callback.on_train_epoch_end(run, module)


def test_epochs_at_which_it_is_due_the_first_and_the_last():
    callback, run, module = begun(Means(X, every_n_epochs=3), trainer(max_epochs=8))
    epochs(callback, run, module, 8)
    assert [(row["step"], row["epoch"]) for row in callback.history] == [(3, 0), (9, 2), (18, 5), (24, 7)]
    keys = [(key, options["prog_bar"]) for key, _, options in module.logged]
    assert keys == [("means/mean", False), ("means/count", True)] * 4
    assert all(options["on_epoch"] and not options["sync_dist"] for *_, options in module.logged)


def test_of_several_validations_in_an_epoch_the_last_one_measures():
    callback, run, module = begun(Means(X, every_n_epochs=2), trainer(max_epochs=5))
    epochs(callback, run, module, 4, validations=3)
    assert [row["step"] for row in callback.history] == [1, 6, 12]


def test_a_sanity_check_measures_nothing():
    callback, run, module = begun(Means(X), trainer(sanity_checking=True))
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
def test_what_is_monitored_is_measured_at_every_epoch_whatever_the_budget(monitor, measured):
    run = trainer(callbacks=[EarlyStopping(monitor)])
    callback, run, module = begun(Means(X, budget=1e-9), run)
    epochs(callback, run, module, 4)
    assert [row["step"] for row in callback.history] == measured


def test_what_is_monitored_keeps_a_cadence_that_was_asked_for():
    callback, run, module = begun(Means(X, every_n_epochs=3), trainer(callbacks=[EarlyStopping("means/mean")]))
    epochs(callback, run, module, 5)
    assert [row["step"] for row in callback.history] == [3, 9]


class Drawing(nn.Linear):
    def forward(self, x):
        return super().forward(x) + torch.randn_like(x)


def test_a_map_of_two_answers_is_refused_and_leaves_the_generator_alone():
    with pytest.raises(NotASelfMapError, match="two answers to one image"):
        begun(Means(X), module=Net(Drawing(2, 2)))
    module = Net()
    state = torch.get_rng_state()
    begun(AttractorCallback(X, torch.rand_like), module=module)
    assert torch.equal(torch.get_rng_state(), state)


def test_times_are_counted_without_the_measurements(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("memzoo.callbacks.cadence.time", SimpleNamespace(monotonic=lambda: clock.now))
    callback, run, module = begun(Means(X, budget=0.5), trainer(global_step=4))
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
    assert callback.cadence.state_dict() == {"next_step": 6, "measuring_s": 2.0, "training_s": 10.0, "steps": 1}
    assert callback.history[-1]["seconds"] == 2.0
    clock.now += 5.0
    after_batch(callback, run, module, 7)
    assert callback.cadence.training_s == 15.0
    assert callback.cadence.steps == 3
    state = callback.state_dict()

    other, run, module = Means(X, budget=0.5), trainer(global_step=7), Net()
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


def test_a_measurement_that_would_break_the_budget_is_put_off(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("memzoo.callbacks.cadence.time", SimpleNamespace(monotonic=lambda: clock.now))
    callback, run, module = begun(Means(X, budget=0.1))
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


# Subsets in turn ------------------------------------------------------------------------------------------------------


def test_subsets_are_measured_in_turn_and_all_at_the_end():
    callback, run, module = begun(Means(X, every_n_epochs=1, rotate=3), trainer(max_epochs=5))
    epochs(callback, run, module, 5)
    assert [row["means/count"] for row in callback.history] == [2, 2, 2, 2, 6]
    means = [row["means/mean"] for row in callback.history]
    assert means == [X[::3].mean(), X[1::3].mean(), X[2::3].mean(), X[::3].mean(), X.mean()]
    assert callback.state_dict()["turn"] == 5
    assert callback.state_dict()["whole"]


@pytest.mark.parametrize(("count", "subset"), [(4, 2), (3, 3)])
def test_subsets_have_at_least_two_examples(count, subset):
    callback, run, module = begun(Means(X[:count], every_n_steps=1, rotate=2))
    after_batch(callback, run, module, 1)
    assert callback.history[-1]["means/count"] == subset
    assert callback.state_dict()["whole"] is (subset == count)


# The end --------------------------------------------------------------------------------------------------------------


def closed(callback, run, module, *, change=False):
    if change:
        nn.init.zeros_(module.layer.weight)
    run.current_epoch += 1  # Lightning counts the last epoch as done
    callback.on_train_end(run, module)
    return [(row["step"], row["epoch"]) for row in callback.history]


def test_the_closing_state_is_measured_once():
    callback, run, module = begun(Means(X, every_n_epochs=1), trainer(max_epochs=2))
    epochs(callback, run, module, 2)
    assert closed(callback, run, module) == [(3, 0), (6, 1)]
    assert callback.advised == 1
    assert callback.stopping_reason == "max_epochs=2 reached"
    assert callback.table().splitlines()[-1] == "The run ended: max_epochs=2 reached."


def test_other_weights_at_the_end_are_measured_again():
    callback, run, module = begun(Means(X, every_n_epochs=1), trainer(max_epochs=2))
    epochs(callback, run, module, 2)
    loss = callback.history[-1]["loss"] = 0.25
    callback._loss = StepLoss()  # the last step had no loss
    assert closed(callback, run, module, change=True) == [(3, 0), (6, 1), (6, 1)]
    assert callback.history[-1]["loss"] == loss  # that of the same step


def test_a_run_that_ends_between_two_measurements():
    logged = []
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.append((values, step)))
    callback, run, module = begun(Means(X, every_n_epochs=10), trainer(loggers=[logger]))
    epochs(callback, run, module, 3)
    assert logged == []  # Lightning logs these by itself
    assert closed(callback, run, module) == [(3, 0), (9, 2)]
    assert logged == [({"means/mean": 5.5, "means/count": 6.0, "epoch": 2}, 8)]


@pytest.mark.parametrize(
    ("error", "world_size", "measured"),
    [(KeyboardInterrupt(), 1, 1), (KeyboardInterrupt(), 2, 0), (ValueError(), 1, 0)],
)
def test_an_interrupted_run_is_closed_by_one_process(error, world_size, measured):
    callback, run, module = begun(Means(X))
    run.world_size = world_size
    callback.on_exception(run, module, error)
    assert len(callback.history) == measured
    assert callback.advised == measured
    if measured:
        assert callback.stopping_reason == "interrupted (KeyboardInterrupt)"
        callback.on_exception(run, module, error)  # while it closes
        assert callback.advised == 1


def test_an_error_before_the_training_began_is_none_of_its_business():
    callback, run, module = Means(X), trainer(), Net()
    callback.on_exception(run, module, KeyboardInterrupt())
    assert callback.history == []


def test_those_who_listen_are_told_each_time():
    told = []
    listener = SimpleNamespace(on_measurement=lambda run, module, source: told.append(source.history[-1]["step"]))
    callback, run, module = begun(Means(X, every_n_steps=1), trainer(callbacks=[listener]))
    after_batch(callback, run, module, 1)
    after_batch(callback, run, module, 2)
    assert told == [1, 2]


def test_the_table_is_printed_where_it_is_wanted(monkeypatch):
    printed = []
    monkeypatch.setattr("memzoo.callbacks.measuring.rank_zero_info", printed.append)
    for verbose in (False, True):
        callback, run, module = begun(Means(X, verbose=verbose))
        closed(callback, run, module)
        assert len(printed) == verbose
    assert printed[0].startswith("Means among 6 examples:")
    assert "Weights measured" not in printed[0]
    callback.measured_weights = "averaged (EMA)"
    assert "\nWeights measured: averaged (EMA).\n" in callback.table()


# What fails -----------------------------------------------------------------------------------------------------------


def test_a_network_that_is_not_finite_measures_as_nothing():
    callback, run, module = begun(Means(X, every_n_steps=1))
    callback.error = NonFiniteError("it grew")
    with pytest.warns(UserWarning, match=r"nothing is measured on a network that is not finite: it grew"):
        after_batch(callback, run, module, 1)
    row = callback.history[-1]
    assert row["means/count"] == 0
    assert math.isnan(row["means/mean"])
    assert "means/extra" not in row


def test_the_first_failure_ends_the_run_later_ones_do_not():
    callback, run, module = begun(Means(X, every_n_steps=1))
    callback.error = RuntimeError("no room")
    with pytest.raises(RuntimeError, match="no room"):
        after_batch(callback, run, module, 1)
    callback.error = None
    after_batch(callback, run, module, 2)
    callback.error = RuntimeError("no room")
    with pytest.warns(UserWarning, match="a measurement failed, training goes on: no room"):
        after_batch(callback, run, module, 3)
    row = callback.history[-1]
    assert math.isnan(row["means/count"])
    assert math.isnan(row["means/mean"])


# Outside of a run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["on_validation_epoch_end", "on_test_epoch_end"])
def test_outside_of_a_run_values_are_logged_and_not_kept(moment):
    callback, module = Means(X, rotate=3), Net()
    run = trainer(state=SimpleNamespace(fn="validate"))
    getattr(callback, moment)(run, module)
    assert callback.history == []
    assert [(key, value) for key, value, _ in module.logged] == [("means/mean", 5.5), ("means/count", 6)]
    assert all(
        options["on_epoch"] and not options["sync_dist"] and options["batch_size"] == 1 for *_, options in module.logged
    )
    nobody, module = Means(), Net()
    getattr(nobody, moment)(run, module)
    assert not module.logged


def test_a_measurement_by_hand():
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


def test_what_was_kept_is_tracked_again():
    callback, run, module = begun(Means(every_n_steps=1))
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


def run_of(callback):
    return trainer(callbacks=[callback])


def test_of_which_weights_the_values_are():
    callback, *_ = begun(Means(X))
    assert callback.measured_weights == "current"
    assert callback.state_key != Means(name="other").state_key


# Contraction ----------------------------------------------------------------------------------------------------------


def scaled(*factors):
    """A diagonal map: its eigenvalues and its singular values are the factors."""
    layer = nn.Linear(len(factors), len(factors), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor(factors)))
    return Net(layer)


def test_the_contraction_of_a_diagonal_map():
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    found = ContractionCallback(x).measure(scaled(0.5, -0.25))
    expected = {"contracting": 1, "radius_median": 0.5, "radius_max": 0.5, "sigma_median": 0.5, "radius_q25": 0.5}
    for name, value in expected.items():
        assert found[f"contraction/{name}"] == pytest.approx(value), name
    # f(x) - x = (-x1 / 2, -5 x2 / 4): relative residuals sqrt(1.5^2 + 5^2) / 5, 1/2 and 5/4
    assert found["contraction/residual"] == pytest.approx(math.hypot(1.5, 5) / 5)
    assert ContractionCallback(x).measure(scaled(1.5, 0.5))["contraction/contracting"] == 0
    assert ContractionCallback(x).measure(scaled(1.0, 0.5))["contraction/contracting"] == 0  # not beyond its error


def test_shares_and_quartiles_of_contraction():
    callback = ContractionCallback(X)
    radius = torch.tensor([0.5, 0.9, 1.0, 1.5, 3.0])
    part = {"radius": radius, "error": torch.tensor([0.1, 0.1, 0, 0, 0]), "sigma": 2 * radius, "residual": radius / 10}
    halves = [
        {name: values[:2] for name, values in part.items()},
        {},
        {name: values[2:] for name, values in part.items()},
    ]
    found = callback.combine_parts(halves, X)
    expected = [("contracting", 0.2), ("radius_median", 1.0), ("radius_max", 3.0), ("sigma_median", 2.0)]
    expected += [("residual", 0.1), ("radius_q25", 0.9), ("radius_q75", 1.5)]
    assert found == {name: pytest.approx(value) for name, value in expected}
    assert callback.measure_part(nn.Identity(), X[:1], Part(1, 2)) == {}


def test_zero_has_a_residual():
    found = ContractionCallback(torch.zeros(1, 2)).measure(scaled(0.5, 0.5))
    assert found["contraction/residual"] == 0


# Attractors -----------------------------------------------------------------------------------------------------------


class Corners(nn.Module):
    """Goes half of the way to the corner (±1, ±1) of its quadrant: four attractors."""

    def forward(self, x):
        return (x + x.sign()) / 2


def test_the_attractors_of_a_map_with_four():
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.8, -1.0]])  # the last one is 0.8 from its limit
    starts = torch.tensor([[1.5, 1.5], [3.0, 3.0], [-3e3, -3e3], [1.1, -1.2]])  # the last two reach no example
    callback = AttractorCallback(x, starts, eps=0.1, steps=8)
    found = callback.measure(Net(Corners()))
    expected = {"fraction": 2 / 3, "recovered": 1 / 3, "converged": 0.5, "residual": 0.0, "radius_q25": 0.5}
    expected |= {"radius_median": 0.5, "radius_max": 0.5, "radius_q75": 0.5}
    for name, value in expected.items():
        assert found[f"attractor/{name}"] == pytest.approx(value), name
    assert callback.certificates.limit_of.tolist() == [0, 1, 2]
    assert callback.about() == "3 examples, 4 starts, T = 8, eps = 0.1"
    assert callback.examples_table().splitlines()[3].split()[:2] == ["0", "yes"]
    assert AttractorCallback(x).examples_table() == "Nothing was measured yet."
    assert AttractorCallback(x, eps=0.1).about() == "3 examples, 0 starts, T = 200, eps = nan"


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_shares_of_several_processes_are_combine_parts(processes):
    x = torch.tensor([[1.0, 1.0], [1.8, -1.0], [-1.0, -1.0]])
    callback = AttractorCallback(x, torch.tensor([[1.5, 1.5], [-2.0, -2.0]]), eps=0.1, steps=8)
    alone = callback.measure(Net(Corners()))
    certificates = callback.certificates
    parts = [callback.measure_part(Corners(), x, Part(index, processes)) for index in range(processes)]
    together = callback.combine_parts(parts, x)
    assert {f"attractor/{name}": value for name, value in together.items()} == pytest.approx(alone)
    assert torch.equal(callback.certificates.attractor, certificates.attractor)
    assert torch.equal(callback.certificates.limit_of, certificates.limit_of)


def test_the_room_of_a_run_is_asked_for_or_the_default():
    from memzoo.dynamics import default_eps

    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    for given, eps in ((None, default_eps(x)), (0.3, 0.3)):
        callback = AttractorCallback(x, x + 0.1, eps=given, steps=3)
        callback.measure(Net(Corners()))
        assert callback.eps == eps
        other, *_ = begun(AttractorCallback(x, x + 0.1, eps=given, steps=3), module=Net(Corners()))
        assert other.eps == eps
        assert torch.equal(other.starts, x + 0.1)


# Starts ---------------------------------------------------------------------------------------------------------------


def watched(callback, **known):
    module = Net(Corners())
    run = trainer(**{"val_dataloaders": None, "enable_validation": False, "lightning_module": module, **known})
    return begun(callback, run, module)[0]


def held_out(points):
    return DataLoader(TensorDataset(points))


def test_validation_images_that_are_no_examples_are_the_starts():
    points = torch.rand(5, 2)
    callback = watched(AttractorCallback(X, max_starts=9), val_dataloaders=held_out(torch.cat([points, X[:2]])))
    assert torch.equal(callback.starts, points)
    near = watched(AttractorCallback(X, max_starts=9), val_dataloaders=held_out(X[1:3] + 1e-6))
    assert len(near.starts) == 2  # close to an example is another image


@pytest.mark.parametrize(
    "points",
    [X, torch.rand(5, 3), torch.tensor([[torch.nan, 0.0]]), torch.tensor([[1, 2]])],
    ids=["examples", "another shape", "nan", "whole numbers"],
)
def test_where_validation_has_no_starts_they_are_noise(points):
    callback = watched(AttractorCallback(X, max_starts=9), val_dataloaders=held_out(points))
    assert callback.starts.shape == (9, 2)
    with pytest.raises(ValueError, match="starts='validation' needs a validation set of the examples' shape"):
        watched(AttractorCallback(X, "validation"), val_dataloaders=held_out(points))


def test_noise_is_seeded_and_validation_is_not_looked_at():
    one, same, other = (watched(AttractorCallback(X, "noise", max_starts=4, seed=seed)).starts for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    validation = held_out(torch.rand(5, 2))
    assert torch.equal(
        watched(AttractorCallback(X, "noise", max_starts=4, seed=1), val_dataloaders=validation).starts, one
    )
    assert watched(AttractorCallback(X, max_starts=4), val_dataloaders=held_out(torch.rand(5, 2))).starts.max() < 1
    assert watched(AttractorCallback(X)).starts.shape == (200, 2)  # a map that costs nothing
    stream = DataLoader(Stream())
    assert watched(AttractorCallback(X, max_starts=4), val_dataloaders=stream).starts.shape == (4, 2)


def test_in_a_test_the_starts_are_test_images():
    test, validation = torch.rand(3, 2), torch.rand(4, 2)
    run = trainer(
        state=SimpleNamespace(fn="test"), test_dataloaders=held_out(test), val_dataloaders=held_out(validation)
    )
    run.lightning_module = Net(Corners())
    callback = AttractorCallback(X, steps=2)
    callback.on_test_epoch_end(run, run.lightning_module)
    assert torch.equal(callback.starts, test)


def test_starts_of_a_function_are_made_from_the_examples():
    assert torch.equal(watched(AttractorCallback(X, lambda x: x + 1)).starts, X + 1)
    with pytest.raises(ValueError, match="starts and examples must be points of one space"):
        watched(AttractorCallback(X, lambda x: x[:, :1]))
    with pytest.raises(NonFiniteError, match="starts holds NaN"):
        watched(AttractorCallback(X, lambda x: x * torch.nan))


def test_starts_that_are_given_are_checked_and_of_another_run_forgotten():
    with pytest.raises(NonFiniteError, match="starts holds NaN"):
        AttractorCallback(X, X * torch.nan)
    callback = watched(AttractorCallback(X, max_starts=3))
    callback.begin(run_of(callback), Net())
    assert callback.starts is None


def test_chosen_starts_travel_and_given_ones_do_not():
    callback = watched(AttractorCallback(X, "noise", max_starts=3))
    kept = callback.state_dict()["kept"]
    assert list(kept) == ["starts"]
    other = AttractorCallback(X, "noise")
    other.load_state_dict(callback.state_dict())
    assert torch.equal(other.starts, callback.starts)
    other.restore({})
    assert torch.equal(other.starts, callback.starts)
    assert watched(AttractorCallback(X, X + 1)).state_dict()["kept"] == {}
    assert list(watched(AttractorCallback(starts=X + 1)).state_dict()["kept"]) == ["examples"]
    assert AttractorCallback().state_dict()["kept"] == {}
