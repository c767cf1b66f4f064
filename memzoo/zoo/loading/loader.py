"""Load a checkpoint: every file hashed, every key matched, the function compared with the published one.

What the registry knows pins each file; a stranger's checkpoint is checked against itself alone, costs no more memory
than its weights, and runs no code.
"""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memzoo._reading import show_text
from memzoo._user_warning import warn_user
from memzoo.data import DISTRIBUTIONS, Selection, pixels
from memzoo.errors import CorruptCheckpointError, UnknownCheckpointError
from memzoo.models import Autoencoder
from memzoo.zoo.entry import CONFIG, EXAMPLES, WEIGHTS, Fingerprint, Images, step_file
from memzoo.zoo.hub import Folder
from memzoo.zoo.loading.building import check_description, rebuild
from memzoo.zoo.loading.fingerprint import check_fingerprint
from memzoo.zoo.loading.locating import LocatedCheckpoint, locate
from memzoo.zoo.registry import SavedConfig, check_config, read_config, read_tensors, registry


def load(name: str, *, step: int | None = None) -> Autoencoder:
    """Load a trained checkpoint as a LightningModule in eval mode, on the CPU.

    Args:
        name: One of

            - ``"id"``: id or alias in a registry. Its files are looked for in the installation, in ``MEMZOO_DIR``, in
              the cache of the Hub's client, and last on the Hub, at the commit that the entry names;
            - ``"id@revision"``: the same checkpoint at another commit, tag or branch of its repository;
            - ``"hf-hub:org/repository"`` or ``"hf-hub:org/repository@revision"``: anyone's;
            - ``"local-dir:PATH"``: a folder as ``memzoo train`` and ``memzoo download`` write it.
        step: Weights after this optimizer step of the training, if they were kept.

    Returns:
        The model, with ``examples`` (training images) and ``probes`` (held-out starts), float32 in [0, 1], and
        ``entry``: from the registry, else the one that travels with the files, else None.

    Raises:
        UnknownCheckpointError: No such id, or no such step; the message names the nearest.
        CheckpointMissingError: Known, but a file, the revision or the repository is not there.
        CorruptCheckpointError: A file has another size or hash than the registry says, is no safetensors file, or does
            not fit the architecture. A damaged file of the Hub's cache is fetched again first.
        FingerprintError: The weights fit but the network computes another function than the published one.
        HubAccessError, StorageError: It had to be fetched, and could not be.

    Every file is hashed each time. What is cached loads without network. Beyond building the network this takes a few
    milliseconds, and up to 20 for the largest checkpoints.

    Example:
        >>> model = load("mnist20-fc14x128")
        >>> model.examples.shape, model.probes.shape
        (torch.Size([20, 1, 28, 28]), torch.Size([1000, 1, 28, 28]))
    """
    return assemble(locate(name), step=step)


def assemble(found: LocatedCheckpoint, *, step: int | None = None) -> Autoencoder:
    """Read the files of a checkpoint, check them, and build the network from them.

    Args:
        found: The checkpoint.
        step: Take the weights after this optimizer step; None for the final ones.
    """
    entry = found.entry
    config = found.find_file(CONFIG)
    saved = read_config(config)
    if entry is not None and (saved.architecture, saved.config) != (entry.architecture, entry.config):
        raise CorruptCheckpointError(
            f"{config} describes {saved.architecture} {_shorten(saved.config)}, the registry {entry.architecture} "
            f"{_shorten(entry.config)}; restore whichever was edited."
        )
    if entry is None:
        found = _check_recorded(found, saved, config)
    description = check_description(saved, config)
    # The images come first: a shape that no image of the file has may be one that fills the memory.
    images = _read_images(tuple(description.shape), found.find_file(EXAMPLES))
    fingerprint = _find_fingerprint(found, saved, step)
    weights = found.find_file(WEIGHTS if step is None else step_file(step))
    # an entry that came with the files proves no more than they do
    registered = entry is not None and registry().get(entry.id) == entry
    model = rebuild(saved, config, weights, registered=registered)
    check_fingerprint(model, model.config.shape, fingerprint)
    if entry is None:
        model.examples = pixels(images["examples"])
        model.probes = pixels(images["probes"])
    else:
        for about, found_images in ((entry.examples, images["examples"]), (entry.probes, images["probes"])):
            check_images(make_selection(about, found_images), about)
        model.examples = entry.examples.inputs(images["examples"])
        model.probes = entry.probes.inputs(images["probes"])
    model.entry = entry
    if entry is None:
        check_config(config)
    return model


def _check_recorded(found: LocatedCheckpoint, saved: SavedConfig, config: Path) -> LocatedCheckpoint:
    """Return a checkpoint without entry together with the hashes that its configuration records.

    All files of a folder are compared with them, those of a repository when they are needed. If it has none, there is a
    warning for a folder, whose owner can add them.
    """
    is_folder = all(isinstance(source, Folder) for source in found.sources)
    if not saved.files:
        if is_folder:
            warn_user(
                f"{config} records no hashes of the files beside it, so that damage may go unnoticed. "
                f"memzoo.zoo.add_hashes({str(config.parent)!r}) records those that they have now."
            )
        return found
    found = replace(found, recorded=saved.files)
    if is_folder:
        for name in saved.files.keys() - {CONFIG}:
            found.find_file(name)
    return found


def _shorten(config: dict[str, Any]) -> str:
    """Shorten a configuration for a message."""
    return textwrap.shorten(repr(config), 600, placeholder=" ...")


def _find_fingerprint(found: LocatedCheckpoint, saved: SavedConfig, step: int | None) -> Fingerprint:
    """Find the fingerprint of the final weights, or of those of a step."""
    entry = found.entry
    if step is None:
        return saved.fingerprint if entry is None or entry.fingerprint is None else entry.fingerprint
    steps = saved.steps if entry is None else entry.steps
    if step not in steps:
        kept = f"kept were {', '.join(map(str, sorted(steps)))}, and the end" if steps else "only its end was kept"
        raise UnknownCheckpointError(f"{found.name} has no weights of step {step!r}: {kept}.")
    return steps[step].fingerprint


def _read_images(shape: tuple[int, ...], path: Path) -> dict[str, Tensor]:
    """Read training images and starts as they are stored, of the shape that the network maps."""
    images = read_tensors(path)
    types = {name: tensor.dtype for name, tensor in images.items()}
    if set(images) != {"examples", "probes"} or not set(types.values()) <= {torch.uint8, torch.float32}:
        said = show_text(str({name: str(dtype) for name, dtype in types.items()}))
        raise CorruptCheckpointError(f"{path} must hold 'examples' and 'probes' as uint8 or float32, got {said}.")
    for key, tensor in images.items():
        if tensor.shape[1:] != shape or not len(tensor):
            raise CorruptCheckpointError(
                f"{path}: {key} are {tuple(tensor.shape)}, the network maps {show_text(str(shape))}; "
                "the images are of another checkpoint."
            )
    return images


def make_selection(about: Images, images: Tensor) -> Selection:
    """Make the selection that an entry describes from its stored images.

    Raises:
        CorruptCheckpointError: The entry describes another number of images.
    """
    count = about.count_positions()
    # Drawn images are (count, seeds, *shape), others (n, *shape).
    stated = (about.count, count) if about.dataset in DISTRIBUTIONS else (count,)
    if tuple(images.shape[: len(stated)]) != stated:
        raise CorruptCheckpointError(
            f"the entry describes {stated} images of {about.dataset}/{about.split}, and {tuple(images.shape)} are "
            "stored; restore whichever was edited."
        )
    return Selection(about.dataset, about.split, tuple(about.positions()), images)


def check_images(selection: Selection, about: Images) -> Selection:
    """Return ``selection`` when its images are those that the registry names, else raise."""
    if isinstance(about.sha256, list):
        return selection.check(about.sha256)
    if selection.digest != about.sha256:
        raise CorruptCheckpointError(
            f"the {len(selection.images)} images of {about.dataset}/{about.split} [{about.indices}] have SHA-256 "
            f"{selection.digest[:12]}... in all, wanted {about.sha256[:12]}...: another version of the dataset or a "
            "damaged file; download it afresh."
        )
    return selection
