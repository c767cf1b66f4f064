"""One process of two that train together: ``python distributed_runs.py RANK FOLDER``, one file a run."""

import sys
from pathlib import Path

import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from their_runs import HELD_OUT, IMAGES, Manual, Theirs, loader, train
from torch.utils.data import DistributedSampler, SubsetRandomSampler, TensorDataset

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.errors import NonFiniteError

RANK = int(sys.argv[1])
FOLDER = Path(sys.argv[2])
turns = DistributedSampler(TensorDataset(IMAGES), num_replicas=2, rank=RANK, shuffle=False)


class Failing(AttractorCallback):
    """Finds no number at its second measurement, and something worse at the third, in one process alone."""

    def measure_part(self, f, examples, part):
        if RANK == 1 and len(self.history) == 1:
            raise NonFiniteError("nan")
        if RANK == 1 and len(self.history) == 2:
            raise KeyError("lost")
        return super().measure_part(f, examples, part)


def quiet(kind=AttractorCallback, examples=None, **settings):
    return kind(examples, verbose=False, **({"every_n_epochs": 1} | settings))


def both(**settings):
    return [quiet(steps=20, eps=1.2, **settings), quiet(ContractionCallback, examples=settings.get("examples"))]


def monitors(name):
    return [
        EarlyStopping("attractor/fraction", mode="max", patience=1),
        ModelCheckpoint(FOLDER / name, monitor="attractor/residual", filename="best"),
    ]


def loaders(images=IMAGES[:5], batch_size=3, **options):
    return lambda: {
        "train_dataloaders": loader(images, batch_size=batch_size, **options),
        "val_dataloaders": loader(HELD_OUT, shuffle=False),
    }


def run(name, make, module=Theirs, data=None, **options):
    callbacks = []
    trainer, trained, weights, generators = train(
        module,
        lambda: callbacks.extend(make()) or callbacks,
        data or loaders(),
        strategy="ddp",
        **{**options, "devices": 2},
    )
    certificates = next((c.certificates for c in callbacks if getattr(c, "certificates", None)), None)
    attractor = next((c for c in callbacks if hasattr(c, "starts")), None)
    kept = {
        "history": {callback.name: callback.history for callback in callbacks if hasattr(callback, "history")},
        "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
        "weights": weights,
        "generators": generators,
        "losses": trained.losses,
        "epochs": trainer.current_epoch,
        "offsets": certificates and certificates.offset,
        "tracked": attractor and (attractor.examples, attractor.starts, attractor.eps, attractor.steps),
    }
    torch.save(kept, FOLDER / f"{name}-{RANK}.pt")


def alone():  # no validation: nothing makes the running statistics of the two equal before they are measured
    return {"train_dataloaders": loader(IMAGES, shuffle=False, sampler=SubsetRandomSampler([0, 1, 4, 5]))}


run("plain", list)
run("uneven", both)
run("one", lambda: both(examples=IMAGES[:1]))
run("subset", both, data=alone)
turned = loaders(IMAGES, shuffle=False, batch_size=2, sampler=turns)
run("limited", both, data=turned, limit_train_batches=1, max_epochs=1)
run("averaged", lambda: [*both(), EMAWeightAveraging(decay=0.5)])
run("manual", list, Manual)
run("manual watched", lambda: [quiet(every_n_epochs=None, every_n_steps=1, steps=2)], Manual)
options = {"max_epochs": 5, "enable_checkpointing": True}
run("first", lambda: [*both(), *monitors("first")], **options)
run("last", lambda: [*monitors("last"), *both()], **options)
run("failing", lambda: [quiet(Failing, steps=2)], max_epochs=4)
