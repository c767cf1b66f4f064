"""Read the images of a LightningDataModule, as the module that it trains is given them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from memzoo._generators import keep_generators_unchanged
from memzoo.auditing.importing import import_object
from memzoo.errors import AuditInputError
from memzoo.modules import Reservoir, Sample, batch_of_first, input_of

MOST_READ = 2**12
"""Most images of a loader that are read."""
HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer")


def read_data_module(name: str, count: int, held_out: int, module: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """Import a LightningDataModule and take random samples of the images that its loaders give.

    It is built twice, with other random numbers: a split that is drawn anew says nothing about what was trained on.

    Args:
        name: ``package.module.Class``, which is built without arguments.
        count: Most members.
        held_out: Most images of the validation loader, else of the test loader.
        module: The trained module, whose hooks change the batches where those of the data module do not.

    Returns:
        Members, and held-out images if there are any.

    Raises:
        AuditInputError: There is no such class, its loaders hold no images, or they hold others at the second time.
    """
    kind = import_object(name, "--data")
    if not (isinstance(kind, type) and issubclass(kind, LightningDataModule)):
        raise AuditInputError(f"--data {name} is no LightningDataModule class; name one, a file or a folder.")
    try:
        found, again = (_read_loaders(kind, module, count, held_out, seed) for seed in (0, 1))
    # Hooks may ask for the Trainer, which an audit does not have.
    except (TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise AuditInputError(
            f"--data {name}: {error} It is built without arguments and without a Trainer, and its loaders must give "
            "floating-point images; save the images into a .npz file otherwise."
        ) from error
    for what, one, other in zip(("training", "held-out"), found, again, strict=True):
        if not _are_same(one, other):
            raise AuditInputError(
                f"--data {name} gives other {what} images each time that it is built: its split or its augmentation is "
                "drawn at random, so that these need not be the images of the training. Draw from a generator with a "
                "seed of its own, or save the images of the training into a .npz file."
            )
    members, others = found
    if members is None:
        raise AuditInputError(f"--data {name}: its training loader gives no images; save them into a .npz file.")
    return members.rows, None if others is None else others.rows


def _read_loaders(
    kind: type[LightningDataModule], module: nn.Module | None, count: int, held_out: int, seed: int
) -> tuple[Sample | None, Sample | None]:
    """Build a data module with the random numbers of a seed, and sample its loaders in one and the same order."""
    with _seeded(seed):
        data = kind()  # as Lightning does before a fit
        data.prepare_data()
        data.setup("fit")
        members = data.train_dataloader()
        others = _find_held_out(data)
    with _seeded(2):
        return _sample(members, data, module, count), _sample(others, data, module, held_out)


def _find_held_out(data: LightningDataModule) -> Any:
    """Return the validation loader, else the test loader; None if there is neither."""
    if is_overridden("val_dataloader", data):
        return data.val_dataloader()
    if is_overridden("test_dataloader", data):
        data.setup("test")
        return data.test_dataloader()
    return None


def _sample(loaders: Any, data: LightningDataModule, module: nn.Module | None, most: int) -> Sample | None:
    """Take a sample of the images of the first loader, after the hooks that Lightning calls on each batch."""
    if loaders is None:
        return None
    reservoir = Reservoir(most)
    combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "min_size")
    for batch, _, _ in combined:
        for hook in HOOKS:
            batch = getattr(_find_owner(hook, data, module), hook)(batch, 0)
        reservoir.add(input_of(batch_of_first(batch, combined.iterables)))
        if reservoir.seen >= MOST_READ:
            break
    return reservoir.take()


def _find_owner(hook: str, data: LightningDataModule, module: nn.Module | None) -> Any:
    """Return whose hook Lightning calls: that of the data module, unless the trained module alone defines it."""
    is_theirs = isinstance(module, LightningModule) and is_overridden(hook, module)
    return module if is_theirs and not is_overridden(hook, data) else data


def _are_same(one: Sample | None, other: Sample | None) -> bool:
    """Tell whether two samples hold the same images, in whatever order."""
    if one is None or other is None:
        return one is other
    return torch.equal(one.names.sort().values, other.names.sort().values)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the random generators of this process, and restore them afterwards."""
    with keep_generators_unchanged():
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        yield
