"""Draw small trainings: data in many forms, modules with a state of their own, and ways to train them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, SubsetRandomSampler, WeightedRandomSampler

WIDTH = 6
ROWS = torch.rand(24, WIDTH, generator=torch.Generator().manual_seed(2))
HELD_OUT = torch.rand(10, WIDTH, generator=torch.Generator().manual_seed(3))


@dataclass
class Choice:
    """One training: a name of each kind, drawn at random."""

    sampler: str
    form: str
    noise: str
    collate: str
    hook: str
    workers: int
    state: str
    optimizer: str
    precision: str
    cadence: str
    rule: str
    validation: str
    extent: str


CHOICES: dict[str, tuple[Any, ...]] = {
    "sampler": (
        "none",
        "shuffled",
        "subset",
        "weights of zero",
        "own",
        "batches",
        "stream",
        "dict",
        "list",
        "combined",
    ),
    "form": ("tensor", "tuple", "dict", "named tuple", "dataclass"),
    "noise": ("none", "none", "global", "own numpy", "own torch"),
    "collate": ("default", "default", "drops rows", "stacks views"),
    "hook": ("none", "module before", "module after", "module at random", "data module after", "data module at random"),
    "workers": (0, 0, 0, 0, 0, 1),
    "state": (
        *("none", "batch norm", "counter", "last codes", "list", "array", "own generator", "own numpy generator"),
        *("buffer", "codebook", "lazy", "logs", "hook", "slots"),
    ),
    "optimizer": ("sgd", "adam", "averaged", "swapped", "manual", "two", "accumulated"),
    "precision": ("32-true", "32-true", "32-true", "bf16-mixed", "64-true"),
    "cadence": ("epochs", "steps", "budget"),
    "rule": ("none", "none", "when", "before", "early stopping", "max_steps"),
    "validation": ("none", "each epoch", "late", "within", "drawn"),
    "extent": ("whole", "whole", "limited", "overfit", "reloaded", "sanity"),
}


def draw_choice(seed: int, number: int) -> Choice:
    """Draw what one training is made of."""
    draw = random.Random(f"{seed}/{number}")
    choice = Choice(**{name: draw.choice(values) for name, values in CHOICES.items()})
    if choice.optimizer == "averaged" and choice.state == "lazy":  # Lightning cannot average weights that are not there
        choice.state = "none"
    return choice


# Data -----------------------------------------------------------------------------------------------------------------


class Named(NamedTuple):
    """A batch with names; the input is not the first of them."""

    label: Tensor
    image: Tensor


@dataclass
class Record:
    """A batch as an object; the input is not the first of its fields."""

    label: Tensor
    x: Tensor


def put_in_form(form: str, rows: Tensor) -> Any:
    """Return a batch of a form."""
    label = torch.arange(len(rows))
    forms = {
        "tensor": lambda: rows,
        "tuple": lambda: (rows, label),
        "dict": lambda: {"label": label, "image": rows},
        "named tuple": lambda: Named(label, rows),
        "dataclass": lambda: Record(label, rows),
    }
    return forms[form]()


def take_rows(batch: Any) -> Tensor:
    """Return the rows in a batch of any form."""
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, dict):
        return batch["image"]
    if isinstance(batch, Record):
        return batch.x
    return batch.image if isinstance(batch, Named) else batch[0]


@dataclass
class Noise:
    """Draw noise from one of several generators."""

    kind: str
    by_numpy: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    by_torch: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(5))

    def add(self, row: Tensor) -> Tensor:
        """Return a row with noise."""
        if self.kind == "none":
            return row
        if self.kind == "global":
            return row + 0.01 * torch.randn(WIDTH)
        if self.kind == "own torch":
            return row + 0.01 * torch.randn(WIDTH, generator=self.by_torch)
        return row + torch.from_numpy(self.by_numpy.normal(0, 0.01, WIDTH)).float()


class Indexed(Dataset[Tensor]):
    """Rows by index."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, index: int) -> Tensor:
        return self.noise.add(ROWS[index])


class Streamed(IterableDataset[Tensor]):
    """Rows one after another."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def __iter__(self) -> Iterator[Tensor]:
        return (self.noise.add(row) for row in ROWS)


class Own(Sampler[int]):
    """Visit a few rows, some of them twice."""

    def __iter__(self) -> Iterator[int]:
        return iter([3, 1, 4, 1, 5, 9, 2, 6])

    def __len__(self) -> int:
        return 8


class Collate:
    """Make a batch of rows, in one of several ways."""

    def __init__(self, form: str, kind: str) -> None:
        self.form = form
        self.kind = kind

    def __call__(self, rows: list[Tensor]) -> Any:
        """Return a batch."""
        batch = torch.stack(rows)
        if self.kind == "drops rows" and len(batch) > 1:
            batch = batch[1:]
        if self.kind == "stacks views":
            batch = torch.cat([batch, batch.flip(1)])
        return put_in_form(self.form, batch)


def build_train_loader(choice: Choice) -> Any:
    """Build the loader, or the loaders, of a training."""
    noise = Noise(choice.noise)
    options: dict[str, Any] = {"collate_fn": Collate(choice.form, choice.collate), "num_workers": choice.workers}
    if choice.workers:
        options["timeout"] = 60  # seconds
    if choice.sampler == "stream":
        return DataLoader(Streamed(noise), batch_size=4, **options)
    data = Indexed(noise)
    samplers: dict[str, dict[str, Any]] = {
        "shuffled": {"shuffle": True, "batch_size": 4},
        "subset": {"sampler": SubsetRandomSampler(range(2, 9)), "batch_size": 3},
        "weights of zero": {"sampler": WeightedRandomSampler([1.0] * 3 + [0.0] * 21, 12), "batch_size": 4},
        "own": {"sampler": Own(), "batch_size": 3},
        "batches": {"batch_sampler": [[0, 1, 2], [7], [5, 0]]},
    }
    loader = DataLoader(data, **samplers.get(choice.sampler, {"batch_size": 5}), **options)
    if choice.sampler not in ("dict", "list", "combined"):
        return loader
    other = DataLoader(list(HELD_OUT), batch_size=4)  # pyright: ignore[reportArgumentType]
    if choice.sampler == "list":
        return [loader, other]
    loaders = {"first": loader, "other": other}
    return CombinedLoader(loaders, "max_size") if choice.sampler == "combined" else loaders


class Data(LightningDataModule):
    """The data of a training, as a data module that may change its batches."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self.choice = choice

    def train_dataloader(self) -> Any:
        """Return the loaders of the training."""
        return build_train_loader(self.choice)

    def val_dataloader(self) -> Any:
        """Return the loader of the validation."""
        if self.choice.validation == "none":
            return []
        drawn = torch.randperm(len(HELD_OUT))[:6] if self.choice.validation == "drawn" else torch.arange(6)
        collate = Collate(self.choice.form, "default")
        held_out: Any = [HELD_OUT[i] for i in drawn]
        return DataLoader(held_out, batch_size=4, collate_fn=collate)


class ChangingData(Data):
    """A data module whose hook changes each batch on the device."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device."""
        return change_batch(batch, at_random=self.choice.hook == "data module at random")


def change_batch(batch: Any, *, at_random: bool) -> Any:
    """Change the rows of the first loader's batch in place of a normalisation or an augmentation."""
    first = batch[next(iter(batch))] if isinstance(batch, dict) and "first" in batch else batch
    first = first[0] if isinstance(first, list) else first
    if first is None:
        return batch
    rows = take_rows(first)
    rows.mul_(2).sub_(1)
    if at_random:
        rows.add_(0.01 * torch.randn(rows.shape).to(rows))
    return batch


# Modules --------------------------------------------------------------------------------------------------------------


class Slotted:
    """An object without a table of attributes."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class Codebook(nn.Module):
    """Codes that are taken from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.zeros(4, 4))
        self.register_buffer("filled", torch.tensor(False))

    def forward(self, z: Tensor) -> Tensor:
        """Map a batch to its reconstruction or its codes."""
        if not self.filled:
            self.codes.data.copy_(z.detach()[torch.arange(4) % len(z)])
            self.filled.fill_(True)
        nearest = (z.detach()[:, None] - self.codes).square().sum(2).argmin(1)
        return 0.5 * (z + self.codes[nearest])


class Trained(LightningModule):
    """A small autoencoder whose forward has a state; it remembers its batches, and its weights after each."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self.choice = choice
        self.first = {"dict": "first", "combined": "first", "list": 0}.get(choice.sampler)
        encoder = nn.LazyLinear(4) if choice.state == "lazy" else nn.Linear(WIDTH, 4)
        middle = {"batch norm": lambda: nn.BatchNorm1d(4), "codebook": Codebook}.get(choice.state, nn.Identity)
        self.encoder = nn.Sequential(encoder, middle(), nn.Tanh())
        self.decoder = nn.Linear(4, WIDTH)
        self.register_buffer("passes", torch.zeros(()))
        self.automatic_optimization = choice.optimizer not in ("manual", "two")
        self.calls = 0
        self.codes: Tensor | None = None
        self.notes: list[float] = []
        self.counts = np.zeros(3)
        self.generator = torch.Generator().manual_seed(9)
        self.numpy = np.random.default_rng(9)
        self.slotted = Slotted()
        if choice.state == "hook":
            self.decoder.register_forward_hook(self.count_call)
        # What the checks compare is no state of the map.
        self.seen = Memory()
        self.weights = Memory()

    def count_call(self, *arguments: Any) -> None:
        """Count, as a hook."""
        self.calls += 1

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch to its reconstruction or its codes."""
        codes = self.encoder(x)
        self.touch(codes)
        return self.decoder(codes)

    def touch(self, codes: Tensor) -> None:
        """Change what this module keeps, whatever the mode."""
        match self.choice.state:
            case "counter":
                self.calls += 1
            case "last codes":
                self.codes = codes
            case "list":
                self.notes.append(0.5)
            case "array":
                self.counts[1] += 1
            case "own generator":
                torch.rand(2, generator=self.generator)
            case "own numpy generator":
                self.numpy.normal()
            case "buffer":
                self.passes += 1
            case "logs":
                self.log("codes", codes.detach().norm(dim=1).mean(), batch_size=1)
            case "slots":
                self.slotted.calls += 1

    def compute_loss(self, batch: Any) -> Tensor:
        """Compute a loss that depends on what the module keeps."""
        rows = take_rows(batch if self.first is None else batch[self.first])
        self.seen.rows.append(rows.detach().clone())
        rows = rows.repeat(2, 1)  # batch norm refuses a single row
        loss = nn.functional.mse_loss(self(rows), rows)
        kept = self.calls + len(self.notes) + float(self.counts.sum()) + self.slotted.calls + float(self.passes)
        drawn = float(torch.rand(1, generator=self.generator)) + self.numpy.random()
        codes = 0.0 if self.codes is None else self.codes.square().mean()
        return loss * (1 + 0.01 * kept + 0.1 * drawn) + 0.1 * codes

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Return the loss, or make the steps of manual optimization."""
        if self.first is not None and batch[self.first] is None:
            return None
        if self.automatic_optimization:
            return self.compute_loss(batch)
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.zero_grad()
            self.manual_backward(self.compute_loss(batch))
            optimizer.step()
        return None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Remember the weights."""
        self.weights.rows.append(torch.cat([p.detach().double().flatten() for p in self.parameters()]))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the error."""
        rows = take_rows(batch)
        self.log("validation", nn.functional.mse_loss(self(rows), rows), batch_size=1)

    def configure_optimizers(self) -> Any:
        """Return the optimizers of the choice."""
        if self.choice.optimizer == "two":
            return [torch.optim.Adam(part.parameters(), 1e-2) for part in (self.encoder, self.decoder)]
        if self.choice.optimizer == "swapped":
            return Swapping(self.parameters(), 0.1)
        kind = torch.optim.SGD if self.choice.optimizer == "sgd" else torch.optim.Adam
        return kind(self.parameters(), 1e-2)


class Memory:
    """Hold a list that belongs to the checks."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []


class Before(Trained):
    """Changes its batches before they are moved."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it is moved."""
        return change_batch(batch, at_random=False)


class After(Trained):
    """Changes its batches on the device."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device."""
        return change_batch(batch, at_random=self.choice.hook == "module at random")


class Swapping(torch.optim.SGD):
    """Step with one set of weights, and keep a running mean of them for evaluation, as schedule-free optimizers do."""

    means: list[Tensor] | None = None
    evaluates = False

    def step(self, closure: Callable[[], float] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make a step, and update the mean."""
        loss = super().step(closure)
        weights = self.param_groups[0]["params"]
        means = [weight.detach().clone() for weight in weights] if self.means is None else self.means
        self.means = [mean + 0.1 * (weight.detach() - mean) for mean, weight in zip(means, weights, strict=True)]
        return loss

    def swap(self, *, evaluates: bool) -> None:
        """Put the other set of weights in place."""
        if evaluates == self.evaluates or self.means is None:
            return
        self.evaluates = evaluates
        weights = self.param_groups[0]["params"]
        others = [weight.detach().clone() for weight in weights]
        for weight, mean in zip(weights, self.means, strict=True):
            weight.data.copy_(mean)
        self.means = others


def let_swap(kind: type[Trained]) -> type[Trained]:
    """Return a class whose modules are validated, and end, with the running mean of their weights."""

    class WithSwaps(kind):
        def on_validation_model_eval(self) -> None:
            self.eval()
            self.optimizers().optimizer.swap(evaluates=True)  # pyright: ignore

        def on_validation_model_train(self) -> None:
            self.train()
            self.optimizers().optimizer.swap(evaluates=False)  # pyright: ignore

        def on_train_end(self) -> None:
            self.optimizers().optimizer.swap(evaluates=True)  # pyright: ignore

    return WithSwaps


def build_module(choice: Choice) -> Trained:
    """Build the module of a training."""
    kinds = {"module before": Before, "module after": After, "module at random": After}
    kind = kinds.get(choice.hook, Trained)
    return (let_swap(kind) if choice.optimizer == "swapped" else kind)(choice)


def build_data(choice: Choice) -> Data:
    """Build the data of a training."""
    return (ChangingData if choice.hook.startswith("data module") else Data)(choice)
