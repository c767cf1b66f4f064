"""Watch in loops without a Trainer: what it measures, when, and what it leaves alone."""

import copy
import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from forked import start_code
from lightning.fabric import Fabric
from lightning.pytorch import Trainer
from torch import nn

import memzoo
from memzoo import Watch
from memzoo._generators import generators_are_at, read_generators
from memzoo.callbacks import AttractorCallback, StopBeforeMemorized, StopWhenMemorized
from memzoo.data import full_batches, mnist20
from memzoo.errors import InvalidArgumentError, InvalidTypeError, NotASelfMapError
from memzoo.models import FullyConnected

pytestmark = pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended")

POINTS = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
STARTS = torch.rand(20, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def plane(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 64), nn.Tanh(), nn.Dropout(dropout), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )


def watch_plane(model, **options):
    return Watch(model, POINTS, STARTS, **{"steps": 20, "every": 10, **options})


def train(model, steps, after_step=None, *, seed=1, lr=5e-3, batch=POINTS):
    """Train in a plain loop, and call ``after_step`` with the loss of each step."""
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if after_step is not None and after_step(loss):
            break
    return losses


def without_seconds(history, *more):
    return [{key: value for key, value in row.items() if key not in ("seconds", *more)} for row in history]


def same(one, other):
    """Tell whether two histories hold the same bits; NaN equals NaN."""
    return repr(one) == repr(other)


# What is measured -----------------------------------------------------------------------------------------------------


def fit(model, callback, data, steps):
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    Trainer(max_steps=steps, callbacks=[callback], enable_model_summary=False, **settings).fit(model, data)


def train_as_lightning_does(model, images, steps, watch, *, give_batches=False):
    model.train()
    settings = model.configure_optimizers()
    optimizer = settings["optimizer"]
    for _ in range(steps):
        loss, _ = model.objective(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        settings["lr_scheduler"]["scheduler"].step()
        watch.step(images if give_batches else None, loss=loss)
    watch.measure()


def test_the_history_is_that_of_the_callback_on_the_training_of_the_demo():
    images, held_out = (selection.pixels() for selection in mnist20())
    starts = held_out[:5]
    callback = AttractorCallback(images, starts, every_n_steps=5, verbose=False)
    fit(memzoo.create("mnist20-fc14x128", seed=4), callback, full_batches(images, steps_per_epoch=8), 8)
    model = memzoo.create("mnist20-fc14x128", seed=4)
    watch = Watch(model, images, starts, every=5)
    train_as_lightning_does(model, images, 8, watch)
    assert [row["step"] for row in watch.history] == [5, 8]
    assert same(without_seconds(watch.history), without_seconds(callback.history, "epoch"))
    assert watch.table().splitlines() == callback.table().splitlines()[:-1]  # but for the end of the run


def test_examples_of_the_batches_are_those_that_the_callback_takes():
    points = torch.rand(12, 2, generator=torch.Generator().manual_seed(2))
    config = {"shape": (2,), "depth": 3, "width": 16, "activation": "tanh"}

    def make():
        torch.manual_seed(0)
        return FullyConnected(**config)

    options = {"max_examples": 5, "max_starts": 7, "seed": 3, "steps": 20}
    callback = AttractorCallback(every_n_steps=3, verbose=False, **options)
    fit(make(), callback, full_batches(points, steps_per_epoch=3), 9)
    model = make()
    watch = Watch(model, every=3, **options)
    train_as_lightning_does(model, points, 9, watch, give_batches=True)
    assert torch.equal(watch.examples, callback.examples)
    assert torch.equal(watch.starts, callback.starts)
    assert len(watch.history) == 3
    assert same(without_seconds(watch.history), without_seconds(callback.history, "epoch", "provisional"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: lambda x: model(x),
        lambda model: model.forward,
        lambda model: partial(nn.Module.__call__, model),
        torch.nn.DataParallel,
        torch.compile,
        lambda model: Fabric(accelerator="cpu", devices=1).setup(model),
    ],
)
def test_any_callable_is_measured_as_the_module_behind_it(wrap):
    model = plane(dropout=0.5)
    expected = watch_plane(model).measure()
    found = watch_plane(wrap(model)).measure()
    assert same(without_seconds([found]), without_seconds([expected]))
    assert model.training


def test_a_function_without_modules_is_measured_at_every_call():
    factor = 0.5
    watch = Watch(lambda x: factor * x, torch.zeros(1, 3) + 1e-9, torch.ones(1, 3), eps=0.1)
    assert watch.measure()["attractor/radius_max"] == pytest.approx(0.5)
    factor = 0.25
    assert watch.measure()["attractor/radius_max"] == pytest.approx(0.25)
    assert len(watch.history) == 2


def test_an_adapter_finds_the_reconstruction():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = plane()

        def forward(self, x):
            return self.inner(x), x.mean()

    with pytest.raises(NotASelfMapError, match="Pass self_map="):
        watch_plane(lambda x: (x[:, :1], x))
    found = watch_plane(Pair(), self_map=lambda module, x: module(x)[0]).measure()
    assert same(without_seconds([found]), without_seconds([watch_plane(plane()).measure()]))


def test_averaged_weights_are_those_of_the_module_that_holds_them():
    model = plane()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    watch = watch_plane(average.module, every=30)

    def after_step(loss):
        average.update_parameters(model)
        watch.step()

    train(model, 30, after_step)
    assert same(
        without_seconds([watch_plane(average.module).measure()], "step"), without_seconds(watch.history, "step")
    )
    assert not same(without_seconds([watch_plane(model).measure()], "step"), without_seconds(watch.history, "step"))


# When -----------------------------------------------------------------------------------------------------------------


def test_rows_come_at_multiples_and_step_returns_them():
    watch = watch_plane(plane(), every=4)
    returned = []
    losses = train(plane(), 10, lambda loss: returned.append(watch.step(loss=loss)))
    assert [row is not None for row in returned] == [step % 4 == 0 for step in range(1, 11)]
    assert [row["step"] for row in watch.history] == [4, 8]
    assert [row["loss"] for row in watch.history] == pytest.approx([losses[3], losses[7]])
    assert returned[3] is watch.history[0]


def test_the_last_state_is_measured_once():
    model = plane()
    watch = watch_plane(model, every=4)
    train(model, 6, lambda loss: watch.step(loss=loss) and None)
    last = watch.close()
    assert [row["step"] for row in watch.history] == [4, 6]
    assert watch.measure() is last
    with torch.no_grad():
        model[0].bias += 1  # other weights of the same step
    assert watch.measure() is not last
    assert [row["step"] for row in watch.history] == [4, 6, 6]


def test_the_budget_plans_the_steps(monkeypatch):
    now_s = [0.0]

    def measure_for_four_seconds(self, parts, examples):
        now_s[0] += 4
        return combine_parts(self, parts, examples)

    combine_parts = AttractorCallback.combine_parts
    monkeypatch.setattr(AttractorCallback, "combine_parts", measure_for_four_seconds)
    monkeypatch.setattr("memzoo.callbacks.cadence.time.monotonic", lambda: now_s[0])
    watch = watch_plane(plane(), budget=0.05, every=None)
    now_s[0] += 1000  # what happens before the first step is no training
    for _ in range(410):
        watch.step()
        now_s[0] += 1
    # n measurements and a closing one need (n + 1) * 4 s / 0.05 of training; the first is at step 100, and since the
    # first step is not timed, steps seem 1 % faster than they are
    assert [row["step"] for row in watch.history] == pytest.approx([100, 240, 320, 400], rel=0.015)


def test_a_step_without_a_loss_has_none():
    watch = watch_plane(plane(), every=1)
    assert math.isnan(watch.step()["loss"])
    assert watch.step(loss=0.25)["loss"] == 0.25
    assert watch.step(loss=torch.tensor(0.5), step=7)["step"] == 7


# Examples from the batches --------------------------------------------------------------------------------------------


def test_examples_are_sampled_from_the_batches_until_no_row_is_new():
    rows = torch.rand(12, 2, generator=torch.Generator().manual_seed(3))
    watch = Watch(plane(), every=1, max_examples=4, steps=5)
    for epoch in range(3):
        for batch in rows[torch.randperm(12)].split(4):
            watch.step({"image": batch, "label": epoch})
    provisional = ["provisional" in row for row in watch.history]
    assert provisional[:3] == [True] * 3
    assert not any(provisional[6:])
    at_once = Watch(plane(), every=1, max_examples=4, steps=5)
    for _ in range(3):
        at_once.step(rows)
    assert {tuple(row) for row in watch.examples.tolist()} == {tuple(row) for row in at_once.examples.tolist()}
    assert "* of the rows that came by" in watch.table()


def test_a_batch_or_examples_are_needed():
    watch = Watch(plane(), every=1)
    with pytest.raises(
        InvalidArgumentError, match=r"pass examples= to Watch, or give it the batches .*watch.step\(batch\)"
    ):
        watch.step()
    with pytest.raises(InvalidArgumentError, match="Watch tracks no examples"):
        watch.measure()
    with pytest.raises(InvalidTypeError, match="Watch could not read the tracked examples: samples are str"):
        watch.step("words")
    with pytest.raises(NotASelfMapError, match="Sequential"):
        watch.step(torch.rand(4, 3))


# What is left alone ---------------------------------------------------------------------------------------------------


def test_training_is_bit_identical():
    plain = plane(dropout=0.2)
    train(plain, 30)
    draws = torch.rand(3)
    watched = plane(dropout=0.2)
    watch = Watch(watched, every=7, steps=20, on_measure=lambda row: torch.rand(2))
    train(watched, 30, lambda loss: watch.step(POINTS, loss=loss) and None)
    assert torch.equal(torch.rand(3), draws)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert watched.training
    assert len(watch.history) == 4


def test_making_and_measuring_draw_nothing():
    states = read_generators()
    watch_plane(nn.Identity()).measure()
    Watch(nn.Identity(), POINTS).measure()
    assert generators_are_at(states)


@pytest.mark.filterwarnings("ignore:attractor. 2 of 2 examples could not be measured")
def test_a_measurement_that_fails_is_a_row_with_its_reason():
    model = plane()
    watch = watch_plane(model, every=1)
    watch.step()
    model[0] = nn.Linear(3, 64)
    row = watch.step()
    assert math.isnan(row["attractor/fraction"])
    assert "shape" in row["reason"]
    assert not watch.memorized
    model[0] = plane()[0]
    assert "reason" not in watch.step()


def test_a_logger_that_fails_ends_nothing():
    def fail(row):
        raise OSError("the disk is full")

    watch = watch_plane(plane(), every=1, on_measure=fail)
    with pytest.warns(UserWarning, match="on_measure failed, training goes on: OSError: the disk is full"):
        assert watch.step() is not None


def test_rows_are_handed_over_as_copies():
    rows = []
    watch = watch_plane(plane(), every=1, on_measure=rows.append)
    watch.step()
    assert rows == watch.history
    assert rows[0] is not watch.history[0]


# Whether to stop ------------------------------------------------------------------------------------------------------


def test_a_loop_can_stop_when_all_is_memorized():
    model = plane()
    watch = watch_plane(model, every=20)

    def after_step(loss):
        watch.step(loss=loss)
        return watch.memorized

    assert len(train(model, 2000, after_step)) < 2000
    shares = [row["attractor/fraction"] for row in watch.history]
    assert shares[-2:] == [1, 1]
    assert len(shares) == 2 or shares[-3] < 1
    assert watch.leaks


def test_the_rules_of_the_callbacks_can_be_given():
    model = plane()
    rule = StopBeforeMemorized()
    watch = watch_plane(model, every=2, rules=[rule, StopWhenMemorized(0.5, measurements=3)])

    def after_step(loss):
        watch.step(loss=loss)
        assert watch.leaks == watch.should_stop
        return watch.should_stop

    train(model, 2000, after_step, lr=1e-3)
    assert watch.stopping_reason.startswith("StopBeforeMemorized: attractor/")
    last = watch.close()
    assert last["attractor/fraction"] == last["attractor/recovered"] == 0  # the weights of an earlier step
    assert f"The run ended: {watch.stopping_reason}." in watch.table()
    with pytest.raises(InvalidArgumentError, match="measurements named 'other'"):
        watch_plane(model, rules=[StopWhenMemorized(name="other")])


# What is kept ---------------------------------------------------------------------------------------------------------


def resume(watch, make, tmp_path):
    torch.save(watch.state_dict(), tmp_path / "watch.pt")
    resumed = make()
    resumed.load_state_dict(torch.load(tmp_path / "watch.pt", weights_only=True))
    return resumed


@pytest.mark.parametrize("given", [True, False])
def test_a_resumed_loop_continues(given, tmp_path):
    model = plane()

    def make():
        examples = POINTS if given else None
        return Watch(model, examples, STARTS, every=10, steps=20, rules=[StopWhenMemorized()])

    def run(watch, steps, start):
        for step in range(start, start + steps):
            with torch.no_grad():
                model[0].bias.fill_(step / 100)
            watch.step(None if given else POINTS, loss=step)

    whole = make()
    run(whole, 35, 0)
    whole.measure()
    parts = make()
    run(parts, 15, 0)
    parts = resume(parts, make, tmp_path)
    run(parts, 20, 15)
    parts.measure()
    assert same(without_seconds(parts.history), without_seconds(whole.history))
    assert [row["step"] for row in parts.history] == [10, 20, 30, 35]
    with pytest.raises(InvalidArgumentError, match="a Watch with 1 rules, this one has 0"):
        watch_plane(model).load_state_dict(parts.state_dict())


def test_a_state_before_the_first_step_is_one():
    watch = Watch(plane(), every=1)
    again = Watch(plane(), every=1)
    again.load_state_dict(copy.deepcopy(watch.state_dict()))
    assert again.step(POINTS) is not None


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InvalidTypeError, match=r"a model is a module, or a function from a batch .*got int"):
        Watch(3, POINTS)
    with pytest.raises(InvalidArgumentError, match="pass the rows as a tensor"):
        Watch(plane(), POINTS, "validation")
    with pytest.raises(InvalidArgumentError, match="every must be at least 1, got 0"):
        Watch(plane(), POINTS, every=0)
    with pytest.raises(NotASelfMapError, match="Linear"):
        Watch(nn.Linear(2, 3), POINTS)


def test_what_was_measured_is_shown():
    watch = watch_plane(plane(), every=1)
    assert watch.table() == "Attractors: nothing was measured yet."
    watch.step()
    assert "Attractors among 2 examples, 20 starts, T = 20" in watch.table()
    assert watch.examples_table().startswith("0 of 2 are attractors")
    assert list(watch.to_pandas()["step"]) == [1]
    assert watch.plot().axes
    assert len(watch.certificates.attractor) == 2
    assert torch.equal(watch.starts, STARTS)


# Several processes ----------------------------------------------------------------------------------------------------


def test_two_processes_measure_together(tmp_path):
    code = (Path(__file__).parents[1] / "support/watch_in_processes.py").read_text()
    said = [tmp_path / f"{rank}.txt" for rank in range(2)]
    started = [start_code(code, [str(rank), str(tmp_path)], said[rank]) for rank in range(2)]
    for process in started:
        process.join(timeout=300)
    assert [process.exitcode for process in started] == [0, 0], "".join(path.read_text() for path in said)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert repr(first["sampled"]) == repr(second["sampled"])  # with their seconds: NaN equals NaN
    assert repr(first["given"]) == repr(second["given"])
    assert first["state"] == second["state"]
    assert len(first["state"][0]) == 6  # of the rows of both
    assert [first["handed_over"], second["handed_over"]] == [3, 0]
    for row, alone, of_sample in zip(first["given"], second["alone"], first["sampled"], strict=True):
        for key in ("fraction", "recovered", "converged", "radius_median", "radius_max", "residual"):
            assert row[f"attractor/{key}"] == pytest.approx(alone[f"attractor/{key}"], rel=1e-5)
        assert of_sample["loss"] == row["loss"]
    assert first["alone"] is None
