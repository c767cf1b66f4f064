"""The images of an entry: from the installed checkpoint, from the dataset, or from a formula, checked by hash."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from memzoo.data import DISTRIBUTIONS, FORMULAS, Selection, cifar10, drawn, mnist, points
from memzoo.dynamics import iterate
from memzoo.models import Autoencoder
from memzoo.zoo.entry import EXAMPLES, Entry, Images
from memzoo.zoo.hub import Folder, sources_of
from memzoo.zoo.loading.loader import check_images
from memzoo.zoo.registry import read_tensors

REACHING = 200  # iterations
BLOCK = 2048  # training images compared at one time


@dataclass(frozen=True)
class EntryImages:
    """Training images and starts, as they are stored."""

    examples: Selection
    probes: Selection
    whole: Selection | None = None
    """All training images, where ``examples`` are only those that travel with the checkpoint."""

    def trained_on(self, entry: Entry) -> Tensor:
        """All training images, as the network is given them."""
        if self.whole is not None and entry.training_set is not None:
            return entry.training_set.inputs(self.whole.images)
        return entry.examples.inputs(self.examples.images)


def images_of(entry: Entry, data_root: str | Path | None) -> EntryImages:
    """Images of an entry, checked by hash; of a large training set from the dataset, else from its own files if there.

    Raises:
        DataMissingError: A dataset is needed and not there, or cannot be downloaded.
        CorruptCheckpointError: An image has another hash.
    """
    folders = [source for source in sources_of(entry) if isinstance(source, Folder)]
    packed = next((path for source in folders if (path := source.get(EXAMPLES)) is not None), None)
    tensors = read_tensors(packed) if data_root is None and packed is not None else None

    def get(key: str, about: Images) -> Selection:
        if tensors is not None:
            return check_images(Selection(about.dataset, about.split, tuple(about.positions()), tensors[key]), about)
        return fetch(about, entry.architecture_config().shape, data_root)

    return EntryImages(get("examples", entry.examples), get("probes", entry.probes), whole_set(entry, data_root))


def whole_set(entry: Entry, data_root: str | Path | None) -> Selection | None:
    """All training images of an entry that carries only some of them, from the dataset."""
    if entry.training_set is None:
        return None
    return fetch(entry.training_set, entry.architecture_config().shape, data_root)


def fetch(about: Images, shape: tuple[int, ...], data_root: str | Path | None) -> Selection:
    """Images of a dataset or a formula, checked by hash; a dataset is downloaded to ``data`` without ``data_root``."""
    positions = about.positions()
    if about.dataset in DISTRIBUTIONS:
        found = drawn(about.dataset, positions, about.count, shape[1:], split=about.split)
    elif about.dataset in FORMULAS:
        found = points(about.dataset, positions, shape, split=about.split)
    else:
        dataset = {"mnist": mnist, "cifar10": cifar10}[about.dataset]
        found = dataset(positions, split=about.split, root=data_root or "data", download=data_root is None)
        found = to_every_member(found, shape)
    return check_images(found, about)


def to_every_member(selection: Selection, shape: tuple[int, ...]) -> Selection:
    """For an ensemble, whose ``shape`` begins with the number of its members: every member gets the same images."""
    images = selection.images
    if len(shape) != images.dim():
        return selection
    return replace(selection, images=images[:, None].repeat(1, shape[0], *[1] * (images.dim() - 1)))


def reached(model: Autoencoder, images: EntryImages, entry: Entry) -> tuple[EntryImages, Entry]:
    """Of a large training set, the images near which the orbits of the starts end, in the place of the examples.

    The two images nearest to each end travel with the weights, so that distances, and by how much the nearest is the
    nearer one, can be measured again without the dataset.
    """
    assert images.whole is not None
    assert entry.training_set is not None
    inputs = images.trained_on(entry).flatten(1)
    ends = iterate(model, entry.probes.inputs(images.probes.images), REACHING).points.flatten(1)
    rows = two_nearest(ends, inputs).unique()
    whole = images.whole
    chosen = Selection(
        whole.dataset, whole.split, tuple(whole.indices[int(row)] for row in rows), whole.images[rows].clone()
    )
    about = entry.training_set.model_copy(update={"indices": list(chosen.indices), "sha256": chosen.digest})
    return EntryImages(chosen, images.probes, whole), entry.model_copy(update={"examples": about})


def two_nearest(ends: Tensor, images: Tensor) -> Tensor:
    """Rows (n, 2) of the two images (m, d) nearest to each of the ends (n, d), a single one twice; in float64."""
    near = torch.full((len(ends), 2), torch.inf, dtype=torch.float64)
    which = torch.zeros(len(ends), 2, dtype=torch.long)
    for block, part in enumerate(images.split(BLOCK)):
        distance, index = torch.cdist(ends.double(), part.double()).topk(min(2, len(part)), largest=False)
        near, order = torch.cat([near, distance], 1).topk(2, largest=False)
        which = torch.cat([which, index + block * BLOCK], 1).gather(1, order)
    return which
