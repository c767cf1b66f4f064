"""Load a checkpoint: every file hashed, every key matched, the function compared with the published one.

A checkpoint is located by one of its names, then assembled from its files. What the registry knows pins each file; a
stranger's checkpoint is checked against itself alone, costs no more memory than its weights, and runs no code.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from memzoo.data import Selection, pixels
from memzoo.errors import (
    ARGUMENT_ERRORS,
    CheckpointMissingError,
    CorruptCheckpointError,
    MemzooError,
    UnknownCheckpointError,
)
from memzoo.models import ARCHITECTURES, Autoencoder
from memzoo.zoo.entry import CONFIG, EXAMPLES, WEIGHTS, Entry, Fingerprint, Images, step_file
from memzoo.zoo.hub import Folder, Repository, Source, client, find_file, list_sources, make_missing_error
from memzoo.zoo.loading.fingerprint import check_fingerprint
from memzoo.zoo.registry import (
    ENTRY,
    ById,
    InFolder,
    OnHub,
    SavedConfig,
    check_entry,
    check_tensors,
    did_you_mean,
    is_commit,
    parse_reference,
    parse_registry,
    read_config,
    read_tensors,
    registry,
    require_entry,
)


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


@dataclass(frozen=True)
class LocatedCheckpoint:
    """A checkpoint that was found: what is known of it, and where its files lie."""

    name: str
    entry: Entry | None
    sources: Sequence[Source] = field(default_factory=list)

    def find_file(self, name: str) -> Path:
        """Find one of its files, checked against its entry."""
        if self.entry is None:
            return find_file(self.sources, name, None)
        if name not in self.entry.files:
            raise CorruptCheckpointError(f"the registry entry {self.entry.id} names no hash for {name}; add it.")
        return find_file(self.sources, name, self.entry.files[name])


# Locate ---------------------------------------------------------------------------------------------------------------


def locate(name: str) -> LocatedCheckpoint:
    """Find a checkpoint by any of its names."""
    reference = parse_reference(name)
    match reference:
        case InFolder(path):
            _check_folder(path)
            entry = read_entry(path / ENTRY) if (path / ENTRY).is_file() else None
            return LocatedCheckpoint(name, entry, [Folder(path)])
        case OnHub(repository, revision):
            published = [entry for entry in registry().values() if entry.hub]
            return _locate_on_hub(name, repository, revision, published)
        case ById(id, revision):
            return _locate_by_id(name, require_entry(id), revision)


def _check_folder(folder: Path) -> None:
    """Raise if there is no such folder."""
    if not folder.is_dir():
        raise CheckpointMissingError(f"no such folder (looked in {folder}); give the folder that holds {CONFIG}.")


def _locate_by_id(name: str, entry: Entry, revision: str | None) -> LocatedCheckpoint:
    """Find a checkpoint of a registry where its entry says that it lies, or at another revision of its repository."""
    if revision is not None:
        if entry.hub is None:
            raise CheckpointMissingError(
                f"{name}: {entry.id} is not on the Hub, so it has no revisions; load {entry.id!r} without one."
            )
        return _locate_on_hub(name, entry.hub.repository, revision, [entry])
    if not entry.files or entry.fingerprint is None:
        raise CheckpointMissingError(
            f"{entry.id} has a recipe but no weights yet; train it with `memzoo train {entry.id}`."
        )
    sources = list_sources(entry)
    if not any(not isinstance(source, Folder) or source.path.is_dir() for source in sources):
        raise make_missing_error(entry)
    return LocatedCheckpoint(name, entry, sources)


def _locate_on_hub(name: str, repository: str, revision: str, published: list[Entry]) -> LocatedCheckpoint:
    """Find a commit on the Hub, with the registry's entry where that pins the same commit, else with its own entry."""
    commit = revision if is_commit(revision) else client.resolve(repository, revision, CONFIG)
    for entry in published:
        if entry.hub is not None and (entry.hub.repository, entry.hub.commit) == (repository, commit):
            return LocatedCheckpoint(name, require_entry(entry.id), list_sources(entry))
    client.fetch(repository, commit, CONFIG)  # its error says whether the repository or the commit is missing
    entry = None if _has_no_entry(repository, commit) else read_entry(client.fetch(repository, commit, ENTRY))
    return LocatedCheckpoint(name, entry, [Repository(repository, commit)])


def _has_no_entry(repository: str, commit: str) -> bool:
    """Tell whether the Hub said, now or before, that a commit holds weights without an entry.

    Configuration and fingerprint alone speak for such weights.
    """
    if client.is_known_absent(repository, commit, ENTRY):
        return True
    try:
        client.fetch(repository, commit, ENTRY)
    except CheckpointMissingError:
        return True
    return False


def is_available(name: str) -> bool:
    """Tell whether there is a place to load a checkpoint from; a Hub that cannot be reached counts as one."""
    try:
        locate(name)
    except CheckpointMissingError:
        return False
    return True


def read_entry(path: Path) -> Entry:
    """Read the one entry of an ``entry.yaml``."""
    entries = list(parse_registry(path.read_text(encoding="utf-8", errors="replace"), path, aliases=False).values())
    if len(entries) != 1 or entries[0].fingerprint is None:
        raise CorruptCheckpointError(f"{path} must hold one complete entry, got {len(entries)}.")
    return check_entry(entries[0], path)


def load_folder(folder: Path, entry: Entry | None = None) -> Autoencoder:
    """Load the checkpoint in ``folder``; with an entry, checked against it."""
    _check_folder(folder)
    return assemble(LocatedCheckpoint(str(folder), entry, [Folder(folder)]))


# Assemble -------------------------------------------------------------------------------------------------------------


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
    fingerprint = _find_fingerprint(found, saved, step)
    weights = found.find_file(WEIGHTS if step is None else step_file(step))
    # an entry that came with the files proves no more than they do
    registered = entry is not None and registry().get(entry.id) == entry
    model = _build_network(saved, config, weights, registered=registered)
    check_fingerprint(model, model.config.shape, fingerprint)

    images = _read_images(model, found.find_file(EXAMPLES))
    if entry is None:
        model.examples = pixels(images["examples"])
        model.probes = pixels(images["probes"])
    else:
        for about, found_images in ((entry.examples, images["examples"]), (entry.probes, images["probes"])):
            check_images(make_selection(about, found_images), about)
        model.examples = entry.examples.inputs(images["examples"])
        model.probes = entry.probes.inputs(images["probes"])
    model.entry = entry
    return model


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


def _build_network(saved: SavedConfig, config: Path, weights: Path, *, registered: bool) -> Autoencoder:
    """Build the network that a configuration describes, with its weights, in eval mode.

    The global random generator is left as it was. A stranger's configuration costs no more memory than the weights that
    came with it: its network is first built on the meta device, where tensors have shapes and no values.
    """
    if _asks_for(saved.config, "pretrained"):
        raise CorruptCheckpointError(
            f"{config} asks for pretrained weights from elsewhere; a checkpoint brings its own: store it with "
            "pretrained off."
        )
    tensors = read_tensors(weights)
    training = saved.training.model_dump()
    if not registered:
        _check_depth(saved, tensors, config, weights)
    try:
        with torch.random.fork_rng(devices=[]):  # an initialisation draws from the global generator
            if not registered:
                with torch.device("meta"):
                    check_tensors(build(saved.architecture, saved.config, training), tensors, weights)
            model = build(saved.architecture, saved.config, training)
    except (ValidationError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        if isinstance(error, MemzooError) and not isinstance(error, ARGUMENT_ERRORS):
            raise
        raise CorruptCheckpointError(f"{config} is not a memzoo configuration: {error}") from error
    check_tensors(model, tensors, weights)
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def _check_depth(saved: SavedConfig, tensors: dict[str, Tensor], config: Path, weights: Path) -> None:
    """Raise if a configuration describes more layers than any network with these weights can have.

    Even on the meta device, ten million layers would take all memory.
    """
    deepest = max(_find_numbers(saved.config, ("depth", "layers", "members", "units")), default=0)
    largest_side = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    if deepest > max(len(tensors), largest_side):
        raise CorruptCheckpointError(
            f"{config} describes a network with {deepest} layers, members or units, {weights} holds {len(tensors)} "
            "smaller tensors: the two do not belong together."
        )


def _asks_for(config: Any, key: str) -> bool:
    """Tell whether ``key`` is set anywhere in a configuration, in those of its members too."""
    if isinstance(config, dict):
        return bool(config.get(key)) or any(_asks_for(value, key) for value in config.values())
    return isinstance(config, list) and any(_asks_for(value, key) for value in config)


def _find_numbers(config: Any, keys: tuple[str, ...]) -> list[int]:
    """Find every number under one of these keys, at any depth."""
    if not isinstance(config, dict):
        return []
    inner = [number for value in config.values() for number in _find_numbers(value, keys)]
    return inner + [config[key] for key in keys if isinstance(config.get(key), int)]


def _read_images(model: Autoencoder, path: Path) -> dict[str, Tensor]:
    """Read training images and starts as they are stored, of the shape that the network maps."""
    images = read_tensors(path)
    types = {name: tensor.dtype for name, tensor in images.items()}
    if set(images) != {"examples", "probes"} or not set(types.values()) <= {torch.uint8, torch.float32}:
        raise CorruptCheckpointError(
            f"{path} must hold 'examples' and 'probes' as uint8 or float32, got "
            f"{ {name: str(dtype) for name, dtype in types.items()} }."
        )
    for key, tensor in images.items():
        if tensor.shape[1:] != model.config.shape or not len(tensor):
            raise CorruptCheckpointError(
                f"{path}: {key} are {tuple(tensor.shape)}, the network maps {tuple(model.config.shape)}; "
                "the images are of another checkpoint."
            )
    return images


def make_selection(about: Images, images: Tensor) -> Selection:
    """Make the selection that an entry describes from its stored images."""
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


# Build ----------------------------------------------------------------------------------------------------------------


def create(name: str, *, seed: int = 0) -> Autoencoder:
    """Create the architecture of a checkpoint, freshly initialised and untrained: the only way to random weights.

    Args:
        name: Id or alias in the registry.
        seed: Seed of the initial values; the global generator keeps its state.

    Raises:
        UnknownCheckpointError: No such id; the message names the nearest.

    Example:
        >>> create("cifar10-d1", seed=1).config.filters
        128
    """
    entry = require_entry(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would change those of the devices for good
        model = build(entry.architecture, entry.config, entry.recipe.training.model_dump())
    model.entry = entry
    return model


def build(architecture: str, config: dict[str, Any], training: dict[str, Any]) -> Autoencoder:
    """Build a model of a named architecture, in float32, whatever the default of the caller is."""
    if architecture not in ARCHITECTURES:
        raise UnknownCheckpointError(f"no architecture {architecture!r}. {did_you_mean(architecture, ARCHITECTURES)}")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # as the weights of the zoo are
    try:
        return ARCHITECTURES[architecture](config, training=training)
    finally:
        torch.set_default_dtype(default)
