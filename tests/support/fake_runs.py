"""A measuring callback, a module and a Trainer that only answers what it is asked."""

from types import SimpleNamespace

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks.measuring import MeasuringCallback
from memzoo.callbacks.options import MeasuringOptions
from memzoo.callbacks.quantities import Quantity

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
        launcher=None,
        broadcast=lambda value: value,
        reduce=lambda value, reduce_op: value.mul_(1),  # in place, as the real ones do
        reduce_boolean_decision=lambda value: value,
    )
    # what callbacks read of a Trainer that trains in one process, in the first epoch
    defaults = {
        "strategy": strategy,
        "lightning_module": SimpleNamespace(automatic_optimization=True),
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
        "lr_scheduler_configs": [],
        "optimizers": [],
        "enable_validation": False,
        "val_dataloaders": None,
        "evaluating": False,
    }
    return SimpleNamespace(**{**defaults, **known})


def bare_trainer(**known):
    """Make a Trainer that knows a step, and what it is told."""
    defaults = {"should_stop": False, "global_step": 7, "optimizers": [], "strategy": SimpleNamespace(launcher=None)}
    return SimpleNamespace(**{**defaults, **known})


def begin_run(callback, run=None, module=None, *, batches=None):
    """Return a callback with its run and module, after the first batches, all of an epoch when left out, came by."""
    run = run or trainer()
    module = module or Net()
    run.callbacks = [*run.callbacks, callback]
    callback.setup(run, module, "fit")
    run.lightning_module = module
    callback.on_train_start(run, module)
    if batches is None and callback._tracked.are_known:
        return callback, run, module
    for index, batch in enumerate(run.train_dataloader if batches is None else batches):
        callback.on_train_batch_start(run, module, batch, index)
    if batches is None and callback.is_pending():
        callback._tracked.end_epoch()
        callback._choose(run, module)  # as the first measurement does
    return callback, run, module


def after_batch(callback, run, module, step, *, loss=None, batch_idx=0):
    run.global_step = step
    callback.on_train_batch_end(run, module, loss, None, batch_idx)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(X)


def epochs(callback, run, module, count, *, validations=0):
    for epoch in range(count):
        run.current_epoch = epoch
        for batch in range(3):
            after_batch(callback, run, module, 3 * epoch + batch + 1, batch_idx=batch)
            run.is_last_batch = batch == 2
            if validations:
                callback.on_validation_epoch_end(run, module)
        callback.on_train_epoch_end(run, module)


def run_of(callback):
    return trainer(callbacks=[callback])


def diagonal_map(*factors):
    """Make a diagonal map: its eigenvalues and its singular values are the factors."""
    layer = nn.Linear(len(factors), len(factors), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor(factors)))
    return Net(layer)


class Corners(nn.Module):
    """Goes half of the way to the corner (±1, ±1) of its quadrant: four attractors."""

    def forward(self, x):
        return (x + x.sign()) / 2
