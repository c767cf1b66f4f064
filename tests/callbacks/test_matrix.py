"""Everything that a Trainer does, with the callbacks and without: what is logged, what it should be, and no trace."""

import copy
import math
import pickle
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forked import start_code
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import CombinedLoader
from their_runs import (
    HELD_OUT,
    IMAGES,
    CompiledPart,
    Flat,
    Interrupted,
    Manual,
    Module,
    Plain,
    Remembering,
    Samples,
    Sequences,
    Stream,
    Theirs,
    TwoOptimizers,
    augment,
    in_order,
    in_single_process,
    loader,
    same,
    train,
)

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.dynamics import certify

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "You passed `Trainer.accelerator='cpu', precision='16-mixed'.` but AMP with fp16",
        "Detected KeyboardInterrupt",
        "Swapping scheduler",
        "You defined a `validation_step` but have no `val_dataloader`",
        "the loss was still falling when the run ended",
        ".* make the network another one in training than in eval mode",
        "The number of training batches",
        "Be aware that when using `ckpt_path`, callbacks used to create",
        "Using `torch.compile.module.` when there are global hooks",
        "Checkpoint directory .* exists and is not empty",
    )
]
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_only():
    return {"train_dataloaders": loader()}


def train_and_validate():
    return {"train_dataloaders": loader(), "val_dataloaders": loader(HELD_OUT, shuffle=False)}


def samples(make):
    return lambda: {"train_dataloaders": loader(Samples(make))}


@dataclass(frozen=True)
class Row:
    """One way of training; ``steps`` are those at which the run is measured."""

    steps: list[int]
    options: dict = field(default_factory=dict)
    module: type = Theirs
    data: Callable = train_only
    others: Callable = list
    settings: dict = field(default_factory=lambda: {"every_n_epochs": 1})
    wrap: Callable = lambda module: module
    dtype: torch.dtype = torch.float32


MANY = {"every_n_epochs": 100}
IN_TURN = {"every_n_epochs": 1, "rotate": 3, "max_examples": 2}


def stochastic_averaging():
    return [StochasticWeightAveraging(1e-2, 1)]


ROWS = {
    "plain": Row([3, 6]),
    "sanity check": Row([3, 6], {"num_sanity_val_steps": 2}, data=train_and_validate),
    "fast_dev_run": Row([1], {"fast_dev_run": True}, data=train_and_validate),
    "limited batches": Row([2, 4], {"limit_train_batches": 2, "limit_val_batches": 1}, data=train_and_validate),
    # several batches a step, several steps a batch
    "accumulation": Row([2, 4], {"accumulate_grad_batches": 2}),
    "accumulation by steps": Row([1, 2, 3, 4], {"accumulate_grad_batches": 2}, settings={"every_n_steps": 1}),
    "manual": Row([3, 6], module=Manual),
    "two optimizers": Row([6, 12], module=TwoOptimizers),
    "two optimizers by steps": Row([4, 8, 12], module=TwoOptimizers, settings={"every_n_steps": 4}),
    # validation within an epoch, and after some epochs alone: the state before it and after it may be one
    "validation in the epoch": Row([1, 3, 6], {"val_check_interval": 1}, data=train_and_validate),
    "late validation": Row([3, 6, 9], {"check_val_every_n_epoch": 2, "max_epochs": 3}, data=train_and_validate),
    "only first and last": Row([3, 9], {"max_epochs": 3}, data=train_and_validate, settings=MANY),
    "by steps": Row([2, 4, 6], settings={"every_n_steps": 2}),
    # ends within an epoch
    "max_steps": Row([3, 5], {"max_steps": 5, "max_epochs": -1}, settings=MANY),
    "interrupted": Row([3, 5], module=Interrupted, settings=MANY),
    # three subsets in turn, and all examples at the end
    "rotating": Row([3, 6, 9, 12], {"max_epochs": 4}, settings=IN_TURN),
    "rotating, validated": Row([3, 6, 6], data=train_and_validate, settings=IN_TURN),
    # other number formats
    "bf16-mixed": Row([3, 6], {"precision": "bf16-mixed"}, data=train_and_validate),
    "16-mixed": Row([3, 6], {"precision": "16-mixed"}, data=train_and_validate),
    "bf16-true": Row([3, 6], {"precision": "bf16-true"}, data=train_and_validate),
    "64-true": Row([3, 6], {"precision": "64-true"}, dtype=torch.float64),
    # torch.compile around the module, and within it
    "compiled module": Row([3, 6], wrap=lambda module: torch.compile(module, backend="eager"), data=train_and_validate),
    "compiled part": Row([3, 6], module=CompiledPart),
    # other shapes of data: several loaders, a data module, samples that are no pair of tensors
    "dict of loaders": Row([4, 8], data=lambda: {"train_dataloaders": {"a": loader(), "b": loader(HELD_OUT)}}),
    "combined loader": Row(
        [4, 8], data=lambda: {"train_dataloaders": CombinedLoader([loader(), loader(HELD_OUT)], "max_size_cycle")}
    ),
    "data module": Row([3, 6], data=lambda: {"datamodule": Module()}),
    "samples: tensors that augment": Row([3, 6], data=samples(augment)),
    "samples: tuples": Row([3, 6], data=samples(lambda i: (IMAGES[i], i))),
    "samples: dicts": Row([3, 6], data=samples(lambda i: {"label": i, "image": IMAGES[i]})),
    "samples: sequences": Row([3, 6], module=Sequences, data=samples(lambda i: IMAGES[i].reshape(4, 4)[:3])),
    "samples: vectors": Row([3, 6], module=Flat, data=samples(lambda i: IMAGES[i].flatten()[:5])),
    # a stream has no rows to look up
    "stream": Row([3, 6], data=lambda: {"train_dataloaders": loader(Stream(), shuffle=False)}),
    # the last row is that of the averaged weights, after a pass that updates the batch norm
    "stochastic averaging": Row([3, 6, 9, 10], {"max_epochs": 3}, others=stochastic_averaging),
    "stochastic averaging without batch norm": Row(
        [3, 6, 9, 9], {"max_epochs": 3}, module=Plain, others=stochastic_averaging
    ),
}


def both(attractor_settings, **settings):
    """Make an AttractorCallback and a ContractionCallback that print nothing and recover some of the examples."""
    return (
        AttractorCallback(steps=20, eps=1.2, max_starts=20, verbose=False, **attractor_settings, **settings),
        ContractionCallback(verbose=False, **settings),
    )


def check_values(callbacks, expected, trainer=None, rel=0.0):
    for callback in callbacks:
        last = callback.history[-1]
        for key in callback.keys:
            assert last[key] == pytest.approx(expected[key], rel=rel, abs=0), key
            if trainer is not None:
                assert float(trainer.callback_metrics[key]) == pytest.approx(expected[key], rel=1e-6), key


@pytest.mark.parametrize("name", ROWS)
def test_every_way_of_training(name):
    row = ROWS[name]
    callbacks = both({}, **row.settings)
    *_, plain, generators = train(row.module, row.others, row.data, wrap=row.wrap, **row.options)
    trainer, module, watched, generators_watched = train(
        row.module, lambda: [*callbacks, *row.others()], row.data, wrap=row.wrap, **row.options
    )
    assert same(plain, watched)
    assert same(generators, generators_watched)
    assert all(callback.examples is not None for callback in callbacks)
    for callback in callbacks:
        assert [line["step"] for line in callback.history] == row.steps
        assert all(line.keys() >= {"step", "epoch", "loss", "seconds", *callback.keys} for line in callback.history)
        losses = [module.losses[line["step"]] for line in callback.history]
        assert [line["loss"] for line in callback.history] == pytest.approx(losses, rel=1e-6)
    heard = None if name == "interrupted" or "stochastic" in name else trainer
    expected = in_single_process(row.module, watched, callbacks[0], dtype=row.dtype)
    check_values(callbacks, expected, heard)


# Averaged weights -----------------------------------------------------------------------------------------------------

AVERAGING = {
    "ema": lambda: EMAWeightAveraging(decay=0.5),
    "mean": WeightAveraging,
    "ema of epochs": lambda: EMAWeightAveraging(decay=0.5, update_every_n_steps=0, update_starting_at_epoch=0),
}


def by_hand(kind, states, first, last):
    """Average some of the states, in the order of their steps."""
    average = states[first]
    for n, step in enumerate(range(first + 1, last + 1), start=1) if "epochs" not in kind else [(1, last)]:
        # the mean weighs the n-th state by 1 / (n + 1); an average with decay 1/2 weighs each new state by 1/2
        share = 1 / (n + 1) if kind == "mean" else 0.5
        average = {
            name: (1 - share) * value + share * states[step][name] if value.is_floating_point() else value
            for name, value in average.items()
        }
    return average


def list_averages(kind, states, validation):
    """List the steps at which a run is measured, with the averaged weights of each."""
    if "epochs" not in kind:
        return [(step, by_hand(kind, states, 1, step)) for step in (2, 4, 6)]
    closing = (6, by_hand(kind, states, 3, 6))
    if validation:  # what is validated lacks the epoch that is about to end, what the run ends with does not
        return [(3, states[0]), (6, states[3]), closing]
    return [(3, states[3]), closing]


def check_row(callbacks, i, expected):
    for callback in callbacks:
        found = {key: callback.history[i][key] for key in callback.keys}
        wanted = {key: expected[key] for key in callback.keys}
        assert found == pytest.approx(wanted, rel=1e-4), i


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("first", [False, True], ids=["averaging first", "callbacks first"])
@pytest.mark.parametrize("kind", AVERAGING)
def test_averaged_weights_are_measured_every_time(kind, first, validation):
    settings = {"every_n_epochs": 1} if "epochs" in kind else {"every_n_steps": 2}
    data = train_and_validate if validation else train_only
    callbacks = both({"starts": HELD_OUT}, examples=IMAGES, **settings)  # the same within the first epoch and later
    *_, plain, generators = train(Remembering, lambda: [AVERAGING[kind]()], data)
    own = [AVERAGING[kind]()]
    order = [*callbacks, *own] if first else [*own, *callbacks]
    trainer, module, watched, generators_watched = train(Remembering, lambda: order, data)
    assert same(plain, watched)
    assert same(generators, generators_watched)
    averages = list_averages(kind, module.weights, validation)
    for callback in callbacks:
        assert [line["step"] for line in callback.history] == [step for step, _ in averages]
    for i, (_, weights) in enumerate(averages):
        check_row(callbacks, i, in_single_process(Remembering, weights, callbacks[0]))
    check_values(callbacks, in_single_process(Remembering, watched, callbacks[0]), trainer)
    assert callbacks[0].measured_weights.startswith("averaged")


# Outside of a run, and between two ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["validate", "test"])
def test_validate_and_test(how, capsys, caplog):
    callbacks = both({})
    trainer, module, weights, _ = train(Theirs, lambda: list(callbacks), train_and_validate)
    histories = [copy.deepcopy(callback.history) for callback in callbacks]
    getattr(trainer, how)(module, loader(HELD_OUT, shuffle=False), verbose=False)
    assert [callback.history for callback in callbacks] == histories
    expected = in_single_process(Theirs, weights, callbacks[0])
    check_values(callbacks, expected, trainer)
    assert same(weights, module.state_dict())

    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    given = AttractorCallback(callbacks[0].examples, callbacks[0].starts, steps=20, eps=1.2, verbose=False)
    alone = Trainer(callbacks=[given, ContractionCallback(callbacks[0].examples)], **options)
    getattr(alone, how)(module, loader(HELD_OUT, shuffle=False), verbose=False)
    assert not given.history
    for key in (*callbacks[0].keys, *callbacks[1].keys):
        assert float(alone.callback_metrics[key]) == pytest.approx(expected[key], rel=1e-6)

    alone = Trainer(callbacks=[AttractorCallback(), ContractionCallback()], **options)
    with caplog.at_level("INFO"):
        getattr(alone, how)(module, loader(HELD_OUT, shuffle=False), verbose=False)
    assert "AttractorCallback measures nothing here" in caplog.text + capsys.readouterr().err
    assert not any("/" in key for key in alone.callback_metrics)


def without_time(callback):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in callback.history]


@pytest.mark.parametrize(
    "settings", [{"every_n_epochs": 1}, {"every_n_steps": 2}, {"every_n_epochs": 1, "rotate": 2, "max_examples": 3}]
)
def test_a_resumed_run_goes_on_as_if_unbroken(settings, tmp_path):
    def run(resume=None):
        callbacks = both({}, **settings)
        saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
        train(Plain, lambda: [*callbacks, saver], in_order, resume=resume, max_epochs=4, enable_checkpointing=True)
        return callbacks

    unbroken = run()
    for epoch in (1, 3):  # in its middle, and with nothing left to do
        for one, other in zip(unbroken, run(tmp_path / f"epoch={epoch}.ckpt"), strict=True):
            assert without_time(one) == without_time(other)


def test_what_is_tracked_of_random_augmentation_survives_a_resume(tmp_path):
    def run(epochs, resume=None):
        callbacks = both({}, every_n_epochs=1)
        saver = ModelCheckpoint(tmp_path, save_last=True)
        train(
            Theirs,
            lambda: [*callbacks, saver],
            samples(lambda i: augment(i) + epochs),  # another draw would be seen
            resume=resume,
            max_epochs=epochs,
            enable_checkpointing=True,
        )
        return callbacks

    before = run(1)
    after = run(2, tmp_path / "last.ckpt")
    assert torch.equal(before[0].examples, after[0].examples)
    assert torch.equal(before[0].starts, after[0].starts)
    assert torch.equal(before[1].examples, after[1].examples)
    assert [line["step"] for line in after[0].history] == [3, 6]


KILLED = """
import os, signal, sys
from lightning.pytorch.callbacks import ModelCheckpoint
from memzoo.callbacks import AttractorCallback
from their_runs import Plain, loader, train

class Killed(Plain):
    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step == 8:
            os.kill(os.getpid(), signal.SIGKILL)

callback = AttractorCallback(every_n_steps=2, steps=20, verbose=False)
train(Killed, lambda: [callback, ModelCheckpoint(sys.argv[1], save_last=True)],
      lambda: {"train_dataloaders": loader(shuffle=False)}, max_epochs=4, enable_checkpointing=True)
"""


def test_a_run_that_was_killed_goes_on_in_another_process(tmp_path):
    killed = start_code(KILLED, [str(tmp_path)], tmp_path / "said.txt")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, (tmp_path / "said.txt").read_text()

    def run(resume=None):
        callback = AttractorCallback(every_n_steps=2, steps=20, verbose=False)
        data = {"train_dataloaders": loader(shuffle=False)}
        train(Plain, lambda: [callback], lambda: data, resume=resume, max_epochs=4)
        return callback

    resumed = run(tmp_path / "last.ckpt")
    unbroken = run()
    expected = [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in resumed.history] == expected
    for line, other in zip(without_time(resumed), without_time(unbroken), strict=True):
        assert line == pytest.approx(other, rel=1e-5)


def test_the_time_trained_since_the_last_measurement_is_in_the_checkpoint(tmp_path):
    callback = AttractorCallback(budget=1e-6, steps=2, verbose=False)
    saver = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=5)
    train(Theirs, lambda: [callback, saver], train_only, max_epochs=2, enable_checkpointing=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"][callback.state_key]
    assert [line["step"] for line in state["history"]] == [3]
    assert state["cadence"]["steps"] == 5


def test_loggers_hear_every_measurement(tmp_path):
    callbacks = both({}, every_n_epochs=1)
    train(Theirs, lambda: list(callbacks), train_and_validate, logger=CSVLogger(tmp_path), log_every_n_steps=50)
    lines = [line.split(",") for line in next(tmp_path.rglob("metrics.csv")).read_text().splitlines()]
    for key in (*callbacks[0].keys, *callbacks[1].keys):
        column = [float(line[lines[0].index(key)]) for line in lines[1:] if line[lines[0].index(key)]]
        history = next(callback.history for callback in callbacks if key in callback.keys)
        assert column == pytest.approx([line[key] for line in history], rel=1e-6)


def test_callbacks_can_be_sent_to_other_processes():
    fresh = both({}, every_n_epochs=1)[0]
    used = both({}, every_n_epochs=1)[0]
    train(Theirs, lambda: [used], train_only)
    *_, weights, _ = train(Theirs, lambda: [pickle.loads(pickle.dumps(fresh))], train_only)
    assert pickle.loads(pickle.dumps(used)).history == used.history
    assert same(weights, train(Theirs, list, train_only)[2])


# Several processes ----------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as listener:
        # port 0 lets the system choose one that is free
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Return what each of two processes found in each run, by name and rank."""
    folder = tmp_path_factory.mktemp("distributed")
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    code = (SUPPORT / "distributed_runs.py").read_text()
    said = [folder / f"{rank}.log" for rank in range(2)]
    processes = [
        start_code(code, [str(rank), str(folder)], said[rank], LOCAL_RANK=str(rank), **where) for rank in range(2)
    ]
    try:
        for process in processes:
            process.join(timeout=240)
    finally:
        for process in processes:
            process.kill()
    assert [process.exitcode for process in processes] == [0, 0], "".join(path.read_text()[-3000:] for path in said)
    names = {path.stem[:-2] for path in folder.glob("*.pt")}
    found = {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(2)] for name in names}
    return SimpleNamespace(folder=folder, runs=found)


@pytest.mark.parametrize("name", ["uneven", "one", "subset", "limited", "averaged", "first", "last"])
def test_processes_together_measure_what_one_would(two_processes, name):
    zero, one = two_processes.runs[name]
    for callback in ("attractor", "contraction"):
        assert zero["history"][callback] == one["history"][callback]
    examples, starts, eps, steps = zero["tracked"]
    assert torch.equal(examples, one["tracked"][0])
    assert torch.equal(starts, one["tracked"][1])
    tracked = SimpleNamespace(examples=examples, starts=starts, eps=eps, steps=steps)
    expected = in_single_process(Theirs, zero["weights"], tracked)
    last = zero["history"]["attractor"][-1] | zero["history"]["contraction"][-1]
    for key, value in expected.items():
        share = key.split("/")[1] in ("fraction", "recovered", "converged", "contracting")
        near = 0 if share else 1e-6 if key.endswith("residual") else 1e-9  # residuals are float32
        assert last[key] == pytest.approx(value, rel=near, abs=0), key
        assert zero["metrics"][key] == one["metrics"][key] == pytest.approx(value, rel=1e-6)


def test_processes_together_train_as_without(two_processes):
    for rank in range(2):
        for watched, plain in (("uneven", "plain"), ("one", "plain"), ("manual watched", "manual")):
            watched = two_processes.runs[watched][rank]
            plain = two_processes.runs[plain][rank]
            assert same(watched["weights"], plain["weights"])
            assert same(watched["generators"], plain["generators"])
            assert watched["losses"] == plain["losses"]


def test_processes_together_track_what_they_train_on(two_processes):
    tracked = {name: runs[0]["tracked"] for name, runs in two_processes.runs.items()}
    for name, which, rows in (
        ("uneven", 0, IMAGES[:5]),
        ("uneven", 1, HELD_OUT),
        ("subset", 0, IMAGES[[0, 1, 4, 5]]),
        ("limited", 0, IMAGES[:4]),
    ):
        assert torch.equal(tracked[name][which].unique(dim=0), rows.unique(dim=0)), name
    assert torch.equal(tracked["limited"][0], IMAGES[:4])  # the processes take turns


def test_processes_together_keep_the_examples_in_their_order(two_processes):
    run = two_processes.runs["uneven"][1]
    module = Theirs().eval()
    module.load_state_dict(two_processes.runs["uneven"][0]["weights"])
    expected = certify(module, run["tracked"][0], eps=1.2).offset
    torch.testing.assert_close(run["offsets"], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["first", "last"])
def test_processes_together_stop_and_save_by_what_is_measured(two_processes, name):
    zero, one = two_processes.runs[name]
    assert zero["epochs"] == one["epochs"] == 2  # nothing is memorized so fast: one epoch, and a patience of one
    assert (two_processes.folder / name / "best.ckpt").is_file()


def test_a_failure_in_one_process_is_one_of_all(two_processes):
    for run in two_processes.runs["failing"]:
        fractions = [line["attractor/fraction"] for line in run["history"]["attractor"]]
        residuals = [line["attractor/residual"] for line in run["history"]["attractor"]]
        assert run["epochs"] == 4
        assert fractions[::3] == [0, 0]
        assert [math.isnan(value) for value in fractions] == [False, True, True, False]
        assert [math.isnan(value) for value in residuals] == [False, True, True, False]
        reasons = [line.get("reason") for line in run["history"]["attractor"]]
        assert reasons[1].endswith("nan")
        assert "KeyError in process 1" in reasons[2]


def make_sharding_strategies():
    deep = object.__new__(DeepSpeedStrategy)
    deep.config = {"zero_optimization": {"stage": 3}}
    return [object.__new__(FSDPStrategy), object.__new__(ModelParallelStrategy), deep]


@pytest.mark.parametrize("strategy", make_sharding_strategies(), ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("callback", both({}), ids=lambda callback: callback.name)
def test_sharded_parameters_are_refused(strategy, callback):
    trainer = SimpleNamespace(strategy=strategy, callbacks=[callback])
    with pytest.raises(
        ValueError, match=r"needs whole parameters in each process, but \w+ shards them; train with strategy='ddp'"
    ):
        callback.on_train_start(trainer, Theirs())
