"""Load a checkpoint: every file hashed, every key matched, the function compared with the published one."""

from pathlib import Path

import torch
from pydantic import ValidationError

from memzoo.data import Selection, pixels
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, UnknownCheckpointError
from memzoo.models import ARCHITECTURES, Autoencoder
from memzoo.zoo.entry import Entry, Images
from memzoo.zoo.files import (
    CONFIG,
    EXAMPLES,
    HASHED,
    WEIGHTS,
    check_file,
    load_weights,
    read_config,
    read_tensors,
)
from memzoo.zoo.fingerprint import check_fingerprint
from memzoo.zoo.registry import did_you_mean, home, info

LOCAL = "local-dir:"


def load(name: str) -> Autoencoder:
    """A trained checkpoint as a LightningModule in eval mode, on the CPU.

    Args:
        name: Id or alias in the registry, whose files came with the installation; or ``"local-dir:PATH"``, a folder
            with ``config.json``, ``model.safetensors`` and ``examples.safetensors``, as ``memzoo train`` writes it.

    Returns:
        The model, with ``examples`` (training images) and ``probes`` (held-out starts), float32 in [0, 1], and
        ``entry`` (None for a local folder).

    Raises:
        UnknownCheckpointError: No such id; the message names the nearest.
        CheckpointMissingError: Known, but a file is not there.
        CorruptCheckpointError: A file has another size or hash than the registry says, is no safetensors file, or does
            not fit the architecture.
        FingerprintError: The weights fit but the network computes another function than the published one.

    Example:
        >>> model = load("mnist20-fc14x128")
        >>> model.examples.shape, model.probes.shape
        (torch.Size([20, 1, 28, 28]), torch.Size([1000, 1, 28, 28]))
    """
    if isinstance(name, str) and name.startswith(LOCAL):
        return load_folder(Path(name.removeprefix(LOCAL)).expanduser())
    entry = info(name)
    return load_folder(home() / "checkpoints" / entry.id, entry)


def load_folder(folder: Path, entry: Entry | None = None) -> Autoencoder:
    """The checkpoint in ``folder``; with an entry, checked against it."""
    if not folder.is_dir():
        what = f"the files of {entry.id} are not in this installation" if entry else "no such folder"
        todo = f"train them with `memzoo train {entry.id}`" if entry else "give the folder that holds config.json"
        raise CheckpointMissingError(f"{what} (looked in {folder}); {todo}.")
    if entry is not None:
        if not entry.files or entry.fingerprint is None:
            raise CheckpointMissingError(
                f"{entry.id} has a recipe but no weights yet; train it with `memzoo train {entry.id}`."
            )
        for file in HASHED:
            if file not in entry.files:
                raise CorruptCheckpointError(f"the registry entry {entry.id} names no hash for {file}; add it.")
            check_file(folder / file, entry.files[file])
    saved = read_config(folder / CONFIG)
    if entry is not None and (saved.architecture, saved.config) != (entry.architecture, entry.config):
        raise CorruptCheckpointError(
            f"{folder / CONFIG} describes {saved.architecture} {saved.config}, the registry {entry.architecture} "
            f"{entry.config}; restore whichever was edited."
        )
    try:
        model = build(saved.architecture, saved.config, saved.training.model_dump())
    except ValidationError as error:
        raise CorruptCheckpointError(f"{folder / CONFIG} is not a memzoo configuration: {error}") from error
    load_weights(model, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    model.eval()
    check_fingerprint(
        model, model.config.shape, entry.fingerprint if entry and entry.fingerprint else saved.fingerprint
    )
    images = read_tensors(folder / EXAMPLES)
    if set(images) != {"examples", "probes"} or any(
        t.dtype not in (torch.uint8, torch.float32) for t in images.values()
    ):
        raise CorruptCheckpointError(
            f"{folder / EXAMPLES} must hold 'examples' and 'probes' as uint8 or float32, got "
            f"{ {name: str(t.dtype) for name, t in images.items()} }."
        )
    for key, found in images.items():
        if found.shape[1:] != model.config.shape or not len(found):
            raise CorruptCheckpointError(
                f"{folder / EXAMPLES}: {key} are {tuple(found.shape)}, the network maps {tuple(model.config.shape)}; "
                "the images are of another checkpoint."
            )
    if entry is not None:
        for key, about in (("examples", entry.examples), ("probes", entry.probes)):
            check_images(Selection(about.dataset, about.split, tuple(about.positions()), images[key]), about)
    model.examples, model.probes = pixels(images["examples"]), pixels(images["probes"])
    model.entry = entry
    return model


def check_images(selection: Selection, about: Images) -> Selection:
    """``selection`` when its images are those that the registry names."""
    if isinstance(about.sha256, list):
        return selection.check(about.sha256)
    if selection.digest != about.sha256:
        raise CorruptCheckpointError(
            f"the {len(selection.images)} images of {about.dataset}/{about.split} [{about.indices}] have SHA-256 "
            f"{selection.digest[:12]}... in all, wanted {about.sha256[:12]}...: another version of the dataset or a "
            "damaged file; download it afresh."
        )
    return selection


def create(name: str, *, seed: int = 0) -> Autoencoder:
    """The architecture of a checkpoint, freshly initialised and untrained: the only way to random weights.

    Args:
        name: Id or alias in the registry.
        seed: Of the initial values; the global generator is left as it was.

    Raises:
        UnknownCheckpointError: No such id; the message names the nearest.

    Example:
        >>> create("cifar10-d1", seed=1).config.filters
        128
    """
    entry = info(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(entry.architecture, entry.config, entry.recipe.training.model_dump())
    model.entry = entry
    return model


def build(architecture: str, config: dict, training: dict) -> Autoencoder:
    """A model of a named architecture."""
    if architecture not in ARCHITECTURES:
        raise UnknownCheckpointError(f"no architecture {architecture!r}. {did_you_mean(architecture, ARCHITECTURES)}")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # the zoo's weights are float32, whatever the caller computes in
    try:
        return ARCHITECTURES[architecture](config, training=training)
    finally:
        torch.set_default_dtype(before)
