"""Whoever reads a logged key reads the value of the present weights, or it is said at the start that it does not."""

import itertools
import random
import warnings

import pytest
import torch
from fake_runs import Net, X, trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.data import DataLoader

from memzoo.callbacks.measuring import MeasuringCallback
from memzoo.callbacks.monitors import Monitors
from memzoo.callbacks.options import MeasuringOptions
from memzoo.callbacks.quantities import Quantity

KEY = "probe/value"


class Probe(MeasuringCallback):
    """Measures the mean of the outputs, which every optimizer step changes."""

    KIND = "probe"
    QUANTITIES = (Quantity("value", "value", ".2f", "Mean of the outputs", logged_by=("probe",)),)
    TITLE = "Probe"

    def __init__(self, **cadence):
        super().__init__(MeasuringOptions(name="probe", examples=X, verbose=False, **cadence))

    def measure_part(self, f, examples, part):
        return f(examples)

    def combine_parts(self, parts, examples):
        return {"value": torch.cat(parts).mean().item()}


class Line(LightningModule):
    """Three batches an epoch; the learning rate may follow the key."""

    def __init__(self, scheduler=None, optimizers=1):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.scheduler = scheduler
        self.count = optimizers
        self.automatic_optimization = optimizers == 1

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        loss = self(batch).square().mean()
        if not self.automatic_optimization:
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
        return loss

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD(self.parameters(), lr=1e-4) for _ in range(self.count)]
        if self.scheduler is None:
            return optimizers
        reading = {"scheduler": Plateau(optimizers[0]), "monitor": KEY, **self.scheduler}
        return optimizers, [reading]


class Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    def step(self, metrics, epoch=None):
        self.record(float(metrics))
        super().step(metrics)


def read(kind, seen, options):
    """Make a reader that compares what it reads with what is measured of the present weights."""

    class Stopping(EarlyStopping):
        def _run_early_stopping_check(self, trainer):
            seen(float(trainer.callback_metrics[KEY]))

    class Saving(ModelCheckpoint):
        def _save_topk_checkpoint(self, trainer, monitor_candidates):
            seen(float(monitor_candidates[KEY]))

    if kind == "stopping":
        return Stopping(KEY, **options)
    return Saving("unused", monitor=KEY, **options)


CADENCES = [{}, *({"every_n_epochs": n} for n in (1, 2, 3)), *({"every_n_steps": n} for n in (1, 2, 3, 4))]
READERS = [
    *(("stopping", {"check_on_train_epoch_end": when}) for when in (None, True, False)),
    *(("saving", {"every_n_epochs": n, "save_on_train_epoch_end": when}) for n in (1, 2) for when in (None, True)),
    *(("saving", {"every_n_train_steps": n}) for n in (1, 2, 3)),
    *(("scheduler", {"interval": kind, "frequency": n}) for kind in ("epoch", "step") for n in (1, 2)),
]
VALIDATIONS = [
    None,
    {},
    {"val_check_interval": 0.5},
    {"val_check_interval": 2},
    {"check_val_every_n_epoch": 2},
    {"check_val_every_n_epoch": None, "val_check_interval": 4},
]
WAYS = [{}, {"accumulate_grad_batches": 2}, {"optimizers": 2}]
CASES = [
    case
    for case in itertools.product(CADENCES, READERS, VALIDATIONS, WAYS, (False, True))
    if not (case[1][0] == "scheduler" and "optimizers" in case[3])  # whoever optimizes by hand steps it by hand
]


def run_case(cadence, reader, validation, way, first):
    """Train for four epochs; return whether an old value was read, and what was said at the start."""
    kind, options = reader
    probe = Probe(**cadence)
    found = []

    def seen(value):
        found.append(value == pytest.approx(probe.measure(module)[KEY], rel=1e-6))

    torch.manual_seed(0)
    module = Line(options if kind == "scheduler" else None, way.get("optimizers", 1))
    Plateau.record = staticmethod(seen)
    callbacks = [probe] if kind == "scheduler" else [probe, read(kind, seen, options)]
    trainer = Trainer(
        max_epochs=4,
        callbacks=callbacks[::-1] if first else callbacks,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=kind == "saving",
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **(validation or {}),
        **{name: value for name, value in way.items() if name != "optimizers"},
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        held_out = None if validation is None else DataLoader(X, batch_size=3)
        try:
            trainer.fit(module, DataLoader(X, batch_size=2), held_out)
        except MisconfigurationException:  # a scheduler looked for its key before anything was measured
            found.append(False)
    return not all(found), [str(one.message) for one in said if f"reads {KEY}" in str(one.message)], len(found)


@pytest.mark.parametrize("case", random.Random(1).sample(CASES, 24), ids=str)
def test_a_monitor_reads_the_value_of_the_present_weights_or_it_is_said(case):
    is_old, said, _ = run_case(*case)
    assert said or not is_old
    assert not said or case[0]  # by the budget, everything that these read is measured


@pytest.mark.parametrize(
    ("cadence", "reader", "moment"),
    [
        ({"every_n_epochs": 2}, ("stopping", {}), "Stopping reads probe/value after every epoch"),
        ({"every_n_epochs": 2}, ("saving", {"every_n_epochs": 3}), "Saving reads probe/value after each 3th epoch"),
        ({"every_n_steps": 2}, ("saving", {"every_n_train_steps": 3}), "after each 3th optimizer step"),
        ({"every_n_epochs": 1}, ("scheduler", {"interval": "step"}), "Plateau reads probe/value after every batch"),
        ({"every_n_epochs": 2}, ("saving", {"every_n_epochs": 4}), None),
        ({"every_n_steps": 3}, ("stopping", {}), None),
        ({"every_n_steps": 2}, ("saving", {"every_n_train_steps": 4}), None),
    ],
)
def test_two_rhythms_that_do_not_fit_are_named_at_the_start(cadence, reader, moment):
    is_old, said, readings = run_case(cadence, reader, None, {}, False)
    assert is_old == (moment is not None)
    assert readings
    assert moment in said[0] if moment else not said


def test_a_monitor_of_unknown_kind_may_read_after_epochs_and_validations():
    class Other:
        monitor = "probe/value"

    run = trainer(callbacks=[Other()], enable_validation=True)
    assert [reader.moment for reader in Monitors(run, "probe/").readers] == ["epoch", "validation"]
    assert not Monitors(run, "prob/")
    assert Net().training  # nothing is evaluated
