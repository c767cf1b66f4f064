"""Trainings of modules that memzoo did not write, and what a single process says of the weights they end with."""

import contextlib
import copy
import random
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from memzoo.callbacks.quantities import QUANTITIES
from memzoo.dynamics import certify, recovery_curve, spectrum

IMAGES = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(5))
HELD_OUT = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(6))


def images_in(batch):
    """Return the first floating-point tensor of a batch."""
    if isinstance(batch, torch.Tensor):
        return batch if batch.is_floating_point() else None
    parts = batch.values() if isinstance(batch, Mapping) else batch
    return next((found for found in map(images_in, parts) if found is not None), None)


class Theirs(LightningModule):
    """Dropout, batch norm and Adam; remembers its losses, and its weights after each batch where asked to."""

    shape = (1, 4, 4)
    width = 16
    lr = 1e-2
    remembers = False

    def __init__(self):
        super().__init__()
        dim = int(np.prod(self.shape))
        norm = nn.BatchNorm1d(self.width)
        drop = nn.Dropout(0.2)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(dim, self.width), norm, nn.Tanh(), drop)
        self.decoder = nn.Sequential(nn.Linear(self.width, dim), nn.Unflatten(1, self.shape))
        self.losses = {}
        self.weights = {}

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def reconstruction_loss(self, batch):
        x = images_in(batch)
        return nn.functional.mse_loss(self(x), x)

    def training_step(self, batch, batch_idx):
        loss = self.reconstruction_loss(batch)
        self.last = loss.detach()
        return loss

    def on_train_start(self):
        if self.remembers:
            self.weights[0] = copy.deepcopy(self.state_dict())

    def on_train_batch_end(self, *args):
        self.losses.setdefault(self.global_step, self.last.item())
        if self.remembers:
            self.weights.setdefault(self.global_step, copy.deepcopy(self.state_dict()))

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.reconstruction_loss(batch), batch_size=1)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.reconstruction_loss(batch), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Remembering(Theirs):
    remembers = True


class Flat(Theirs):
    shape = (5,)


class Sequences(Theirs):
    shape = (3, 4)


class Plain(Theirs):
    """Nothing differs in training: a run that is resumed is the run that was not broken."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(8, 16), nn.Unflatten(1, (1, 4, 4)))


class CompiledPart(Theirs):
    def __init__(self):
        super().__init__()
        self.encoder = torch.compile(self.encoder, backend="eager")


class Manual(Theirs):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.zero_grad()
            loss = self.reconstruction_loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        self.last = loss.detach()
        return loss


class TwoOptimizers(Manual):
    """As a GAN has them: two optimizer steps a batch."""

    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters(), lr=self.lr) for part in (self.encoder, self.decoder)]


class Interrupted(Theirs):
    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step == 5:
            raise KeyboardInterrupt


class Samples(Dataset):
    def __init__(self, make, count=6):
        self.make = make
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.make(index)


class Stream(IterableDataset):
    def __iter__(self):
        return iter((image,) for image in IMAGES)


class Module(LightningDataModule):
    def train_dataloader(self):
        return loader()

    def val_dataloader(self):
        return loader(HELD_OUT, shuffle=False)


def augment(index):
    return IMAGES[index] + 0.1 * torch.randn(1, 4, 4) + 0.01 * random.random()


def loader(images=IMAGES, *, shuffle=True, batch_size=2, **options):
    data = images if isinstance(images, (Dataset, IterableDataset)) else TensorDataset(images)
    return DataLoader(data, batch_size=batch_size, shuffle=shuffle, **options)


def in_order():
    """Return loaders of the training and the validation images that do not shuffle."""
    return {"train_dataloaders": loader(shuffle=False), "val_dataloaders": loader(HELD_OUT, shuffle=False)}


def train(module, callbacks, data, *, wrap=lambda module: module, resume=None, **options):
    """Train from one fixed seed; return the trainer, the module, its weights and the states of all generators."""
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    # with and without callbacks, from the same state of every generator
    seed_everything(3, verbose=False)
    module = module()
    callbacks = callbacks()
    trainer = Trainer(callbacks=callbacks, **(settings | options))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* make the network another one in training than in eval mode")
        warnings.filterwarnings("ignore", message="the loss was still falling when the run ended")
        warnings.filterwarnings("ignore", message="You defined a `validation_step` but have no `val_dataloader`")
        with contextlib.suppress(SystemExit):  # as Lightning leaves after Ctrl+C
            trainer.fit(wrap(module), **data(), ckpt_path=resume, weights_only=True)
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    generators = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.random.get_state()[1].astype("int64")),  # noqa: NPY002
        "python": torch.tensor(random.getstate()[1]),
    }
    return trainer, module, weights, generators


def same(one, other):
    """Tell whether two states are equal bit for bit, name by name."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@torch.compiler.set_stance("force_eager")
def in_single_process(make, weights, attractor, *, dtype=torch.float32):
    """Compute by :mod:`memzoo.dynamics` alone what both callbacks should have logged of these weights."""
    module = make().to(dtype)
    module.load_state_dict(weights)
    module.eval()
    examples = attractor.examples.to(dtype)
    starts = attractor.starts.to(dtype)
    found = certify(module, examples, eps=attractor.eps)
    curve = recovery_curve(module, starts, examples, attractor.steps, eps=attractor.eps, tol=None)
    leading = spectrum(module, examples, top=1)
    with torch.no_grad():
        residual = (module(examples) - examples).flatten(1).norm(dim=1) / examples.flatten(1).norm(dim=1)
    radii = {
        "radius_median": leading.radius.quantile(0.5),
        "radius_max": leading.radius.max(),
        "residual": residual.quantile(0.5),
        "measured": 1.0,  # at none of the examples anything fails
    }
    shares = {
        "fraction": found.fraction,
        "recovered": curve.rate[-1],
        "ever_recovered": curve.ever[-1],
        "converged": curve.arrived[-1],
    }
    contraction = radii | {
        "contracting": (leading.radius + leading.radius_error < 1).float().mean(),
        "sigma_median": leading.sigma_max.quantile(0.5),
    }
    named = {f"attractor/{key}": float(value) for key, value in (shares | radii).items()}
    named |= {f"contraction/{key}": float(value) for key, value in contraction.items()}
    logged = {f"{kind}/{quantity.key}" for quantity in QUANTITIES for kind in quantity.logged_by}
    assert named.keys() == logged, (
        f"{', '.join(sorted(named.keys() ^ logged))}: in_single_process in tests/support/their_runs.py and the table "
        "in memzoo/callbacks/quantities.py name other quantities"
    )
    return named
