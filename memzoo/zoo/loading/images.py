"""Find the images of an entry: in the installed checkpoint, in the dataset, or from a formula, checked by hash."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from memzoo.data import DISTRIBUTIONS, FORMULAS, Selection, cifar10, drawn, mnist, points
from memzoo.dynamics import iterate
from memzoo.models import Autoencoder
from memzoo.zoo.entry import EXAMPLES, Entry, Images
from memzoo.zoo.hub import Folder, list_sources
from memzoo.zoo.loading.loader import check_images, make_selection
from memzoo.zoo.registry import read_tensors

REACHING_STEPS = 200  # iterations after which an orbit has reached its end
BLOCK = 2048  # training images compared at one time


@dataclass(frozen=True)
class EntryImages:
    """Training images and starts, as they are stored."""

    examples: Selection
    probes: Selection
    whole: Selection | None = None
    """All training images, where ``examples`` are only those that travel with the checkpoint."""

    def training_inputs(self, entry: Entry) -> Tensor:
        """Return all training images, as the network is given them."""
        if self.whole is not None and entry.training_set is not None:
            return entry.training_set.inputs(self.whole.images)
        return entry.examples.inputs(self.examples.images)


def find_images(entry: Entry, data_root: str | Path | None) -> EntryImages:
    """Find the images of an entry, checked by hash.

    They come from the dataset if ``data_root`` is given, else from the files of the checkpoint where these are here.
    A whole training set of which only a part travels comes from the dataset in any case.

    Raises:
        DataMissingError: A dataset is needed and not there, or cannot be downloaded.
        CorruptCheckpointError: An image has another hash.
    """
    stored = _read_stored_images(entry) if data_root is None else None
    if stored is None:
        shape = entry.architecture_config().shape
        examples = fetch_images(entry.examples, shape, data_root)
        probes = fetch_images(entry.probes, shape, data_root)
    else:
        examples = check_images(make_selection(entry.examples, stored["examples"]), entry.examples)
        probes = check_images(make_selection(entry.probes, stored["probes"]), entry.probes)
    return EntryImages(examples, probes, fetch_training_set(entry, data_root))


def _read_stored_images(entry: Entry) -> dict[str, Tensor] | None:
    """Read the images that travel with the checkpoint, if its files are here."""
    for source in list_sources(entry):
        path = source.get(EXAMPLES) if isinstance(source, Folder) else None
        if path is not None:
            return read_tensors(path)
    return None


def fetch_training_set(entry: Entry, data_root: str | Path | None) -> Selection | None:
    """Fetch all training images of an entry that carries only some of them; None if it carries all."""
    if entry.training_set is None:
        return None
    return fetch_images(entry.training_set, entry.architecture_config().shape, data_root)


def fetch_images(about: Images, shape: tuple[int, ...], data_root: str | Path | None) -> Selection:
    """Fetch images of a dataset or formula, checked by hash; without ``data_root``, download to ``data``."""
    positions = about.positions()
    if about.dataset in DISTRIBUTIONS:
        found = drawn(about.dataset, positions, about.count, shape[1:], split=about.split)
    elif about.dataset in FORMULAS:
        found = points(about.dataset, positions, shape, split=about.split)
    else:
        dataset = {"mnist": mnist, "cifar10": cifar10}[about.dataset]
        found = dataset(positions, split=about.split, root=data_root or "data", download=data_root is None)
        found = repeat_for_members(found, shape)
    return check_images(found, about)


def repeat_for_members(selection: Selection, shape: tuple[int, ...]) -> Selection:
    """Give the same images to every member of an ensemble, whose ``shape`` begins with the number of its members."""
    images = selection.images
    if len(shape) != images.dim():
        return selection
    return replace(selection, images=images[:, None].repeat(1, shape[0], *[1] * (images.dim() - 1)))


def select_reached(model: Autoencoder, images: EntryImages, entry: Entry) -> tuple[EntryImages, Entry]:
    """Replace the examples by those images of a large training set near which the orbits of the starts end.

    The two images nearest to each end travel with the weights, so that distances, and by how much the nearest is the
    nearer one, can be measured again without the dataset.
    """
    assert images.whole is not None
    assert entry.training_set is not None
    inputs = images.training_inputs(entry).flatten(1)
    starts = entry.probes.inputs(images.probes.images)
    ends = iterate(model, starts, REACHING_STEPS).points.flatten(1)
    rows = find_two_nearest(ends, inputs).unique()

    whole = images.whole
    indices = tuple(whole.indices[int(row)] for row in rows)
    chosen = Selection(whole.dataset, whole.split, indices, whole.images[rows].clone())
    about = entry.training_set.model_copy(update={"indices": list(indices), "sha256": chosen.digest})
    return replace(images, examples=chosen), entry.model_copy(update={"examples": about})


def find_two_nearest(ends: Tensor, images: Tensor) -> Tensor:
    """Find the rows (n, 2) of the two images (m, d) nearest to each of the ends (n, d), in float64.

    Where there is only one image, it is given twice.
    """
    nearest = torch.full((len(ends), 2), torch.inf, dtype=torch.float64)
    rows = torch.zeros(len(ends), 2, dtype=torch.long)
    for number, block in enumerate(images.split(BLOCK)):
        distance, index = torch.cdist(ends.double(), block.double()).topk(min(2, len(block)), largest=False)
        nearest, order = torch.cat([nearest, distance], 1).topk(2, largest=False)
        rows = torch.cat([rows, index + number * BLOCK], 1).gather(1, order)
    return rows
