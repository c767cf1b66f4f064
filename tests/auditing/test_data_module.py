"""The images of a data module are those that the module is trained on, the same ones each time it is built."""

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset, random_split

from memzoo.auditing import read_data
from memzoo.errors import AuditInputError

ROWS = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(1))


class Augmented(Dataset):
    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return ROWS[index] + self.draw()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(ROWS[:20])


class Split(LightningDataModule):
    """A split of a seed of its own."""

    def draw(self):
        return torch.Generator().manual_seed(0)

    def setup(self, stage):
        self.members, self.held_out = random_split(TensorDataset(ROWS), [20, 20], self.draw())

    def train_dataloader(self):
        return DataLoader(self.members, batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.held_out, batch_size=4)


class DrawnByTorch(Split):
    def draw(self):
        return torch.default_generator


class DrawnByNumpy(Split):
    def setup(self, stage):
        order = np.random.permutation(40)  # noqa: NPY002
        self.members, self.held_out = TensorDataset(ROWS[order[:20]]), TensorDataset(ROWS[order[20:]])


class DrawnByPython(Split):
    def setup(self, stage):
        order = random.sample(range(40), 40)
        self.members, self.held_out = TensorDataset(ROWS[order[:20]]), TensorDataset(ROWS[order[20:]])


class DrawnHeldOut(Split):
    def val_dataloader(self):
        return DataLoader(ROWS[20 + torch.randperm(20)[:10]], batch_size=4)


class OwnNoise(Split):
    generator = np.random.default_rng(0)

    def train_dataloader(self):
        return DataLoader(Augmented(lambda: float(self.generator.normal())), batch_size=4)


class GlobalNoise(Split):
    def train_dataloader(self):
        return DataLoader(Augmented(lambda: torch.rand(1).item()), batch_size=4)


class Streamed(Split):
    def train_dataloader(self):
        return DataLoader(Stream(), batch_size=4)


class Sampled(Split):
    def train_dataloader(self):
        return {"a": DataLoader(ROWS, 4, sampler=SubsetRandomSampler(range(7))), "b": DataLoader(ROWS, 4)}


class Normalising(Split):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        return [2 * batch[0]]

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] - 1


class AsksTheTrainer(Split):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch if self.trainer.training else None


class Empty(Split):
    def train_dataloader(self):
        return DataLoader(ROWS, sampler=SubsetRandomSampler([]))


class Net(LightningModule):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] + 5]


KINDS = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, LightningDataModule)]


@pytest.fixture(autouse=True)
def theirs(monkeypatch):
    module = SimpleNamespace(**{kind.__name__: kind for kind in KINDS})
    monkeypatch.setitem(sys.modules, "theirs", module)


def as_set(images):
    return set(map(tuple, images.flatten(1).tolist()))


def test_a_split_with_a_seed_of_its_own_is_taken_and_generators_are_left_alone():
    state = torch.get_rng_state()
    data = read_data("theirs.Split", 30, 30)
    members, held_out = random_split(TensorDataset(ROWS), [20, 20], torch.Generator().manual_seed(0))
    assert as_set(data.members) == as_set(torch.stack([row for (row,) in members]))
    assert as_set(torch.cat([data.controls, data.starts])) == as_set(torch.stack([row for (row,) in held_out]))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["DrawnByTorch", "DrawnByNumpy", "DrawnByPython", "OwnNoise"])
def test_members_that_are_others_each_time_are_refused(name):
    with pytest.raises(AuditInputError, match=r"gives other training images each time that it is built"):
        read_data(f"theirs.{name}")


def test_held_out_images_that_are_others_each_time_are_refused():
    with pytest.raises(AuditInputError, match=r"gives other held-out images each time that it is built"):
        read_data("theirs.DrawnHeldOut")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Streamed", ROWS[:20]), ("Sampled", ROWS[:7]), ("Normalising", None), ("GlobalNoise", None)],
)
def test_members_are_what_the_training_is_given(name, expected):
    found = read_data(f"theirs.{name}").members
    if expected is not None:
        assert as_set(found) == as_set(expected)
    elif name == "Normalising":
        assert as_set(found) == as_set(2 * read_data("theirs.Split").members - 1)
    else:  # augmented by the global generator: one version of each
        assert found.shape == (20, 1, 3, 3)


def test_hooks_of_the_trained_module_count_where_the_data_module_has_none():
    plain = read_data("theirs.Split").members
    assert as_set(read_data("theirs.Split", module=Net()).members) == as_set(plain + 5)
    assert as_set(read_data("theirs.Normalising", module=Net()).members) == as_set(2 * plain - 1)


@pytest.mark.parametrize(("name", "message"), [("AsksTheTrainer", "without a Trainer"), ("Empty", "gives no images")])
def test_a_data_module_that_cannot_be_read_is_refused_with_advice(name, message):
    with pytest.raises(AuditInputError, match=message):
        read_data(f"theirs.{name}")
