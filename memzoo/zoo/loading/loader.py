"""Load a checkpoint: every file hashed, every key matched, the function compared with the published one."""

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
from memzoo.zoo.hub import Folder, Repository, Source, client, find, make_missing_error, sources_of
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
    """A trained checkpoint as a LightningModule in eval mode, on the CPU.

    Args:
        name: One of

            - ``"id"``: id or alias in a registry. Its files are looked for in the installation, in ``MEMZOO_DIR``, in
              the cache of the Hub's client, and last on the Hub, at the commit that the entry names;
            - ``"id@revision"``: the same checkpoint at another commit, tag or branch of its repository;
            - ``"hf-hub:org/repository"`` or ``"hf-hub:org/repository@revision"``: anyone's;
            - ``"local-dir:PATH"``: a folder as ``memzoo train`` and ``memzoo download`` write it.
        step: Weights after this optimizer step of the training, where they were kept.

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

    A file is hashed when it is first used, and again only when its size or times have changed. What is cached loads
    without network. Beyond building the network this takes a few milliseconds.

    Example:
        >>> model = load("mnist20-fc14x128")
        >>> model.examples.shape, model.probes.shape
        (torch.Size([20, 1, 28, 28]), torch.Size([1000, 1, 28, 28]))
    """
    return assemble(locate(name), step=step)


@dataclass(frozen=True)
class Located:
    """A checkpoint that was found: what is known of it, and where its files lie."""

    name: str
    entry: Entry | None
    sources: Sequence[Source] = field(default_factory=list)

    def file(self, name: str, *, trust: bool = True) -> Path:
        """One of its files, checked against its entry."""
        if self.entry is None:
            return find(self.sources, name, None)
        if name not in self.entry.files:
            raise CorruptCheckpointError(f"the registry entry {self.entry.id} names no hash for {name}; add it.")
        return find(self.sources, name, self.entry.files[name], trust=trust)


def locate(name: str) -> Located:
    """Find a checkpoint by any of its names."""
    reference = parse_reference(name)
    match reference:
        case InFolder(path):
            if not path.is_dir():
                raise CheckpointMissingError(f"no such folder (looked in {path}); give the folder that holds {CONFIG}.")
            entry = entry_in(path / ENTRY) if (path / ENTRY).is_file() else None
            return Located(name, entry, [Folder(path)])
        case OnHub(repository, revision):
            return _located_on_hub(name, repository, revision, [e for e in registry().values() if e.hub])
        case ById(id, revision):
            return _located_by_id(name, require_entry(id), revision)


def _located_by_id(name: str, entry: Entry, revision: str | None) -> Located:
    if revision is not None:
        if entry.hub is None:
            raise CheckpointMissingError(
                f"{name}: {entry.id} is not on the Hub, so it has no revisions; load {entry.id!r} without one."
            )
        return _located_on_hub(name, entry.hub.repository, revision, [entry])
    if not entry.files or entry.fingerprint is None:
        raise CheckpointMissingError(
            f"{entry.id} has a recipe but no weights yet; train it with `memzoo train {entry.id}`."
        )
    sources = sources_of(entry)
    here = [source for source in sources if not isinstance(source, Folder) or source.path.is_dir()]
    if not here:
        raise make_missing_error(entry)
    return Located(name, entry, sources)


def _located_on_hub(name: str, repository: str, revision: str, known: list[Entry]) -> Located:
    """A commit; with the registry's own entry where that names the same one, else with the one that lies there."""
    commit = revision if is_commit(revision) else client.resolve(repository, revision, CONFIG)
    for entry in known:
        if entry.hub is not None and (entry.hub.repository, entry.hub.commit) == (repository, commit):
            return Located(name, require_entry(entry.id), sources_of(entry))
    client.fetch(repository, commit, CONFIG)  # says so where it is the repository or the commit that is missing
    entry = None if _has_no_entry(repository, commit) else entry_in(client.fetch(repository, commit, ENTRY))
    return Located(name, entry, [Repository(repository, commit)])


def _has_no_entry(repository: str, commit: str) -> bool:
    """Weights without an entry, for which configuration and fingerprint alone speak: where the Hub said that, once."""
    if client.known_absent(repository, commit, ENTRY):
        return True
    try:
        client.fetch(repository, commit, ENTRY)
    except CheckpointMissingError:
        return True
    return False


def is_available(name: str) -> bool:
    """Whether there is a place to load a checkpoint from; a Hub that cannot be reached counts as one."""
    try:
        locate(name)
    except CheckpointMissingError:
        return False
    return True


def entry_in(path: Path) -> Entry:
    """The one entry of an ``entry.yaml``."""
    entries = list(parse_registry(path.read_text(encoding="utf-8", errors="replace"), path, aliases=False).values())
    if len(entries) != 1 or entries[0].fingerprint is None:
        raise CorruptCheckpointError(f"{path} must hold one complete entry, got {len(entries)}.")
    return check_entry(entries[0], path)


def load_folder(folder: Path, entry: Entry | None = None) -> Autoencoder:
    """The checkpoint in ``folder``; with an entry, checked against it."""
    if not folder.is_dir():
        raise CheckpointMissingError(f"no such folder (looked in {folder}); give the folder that holds {CONFIG}.")
    return assemble(Located(str(folder), entry, [Folder(folder)]))


def assemble(found: Located, *, step: int | None = None, trust: bool = True) -> Autoencoder:
    """Read, check and put together the files of a checkpoint."""
    entry = found.entry
    config = found.file(CONFIG, trust=trust)
    saved = read_config(config)
    if entry is not None and (saved.architecture, saved.config) != (entry.architecture, entry.config):
        raise CorruptCheckpointError(
            f"{config} describes {saved.architecture} {_brief(saved.config)}, the registry {entry.architecture} "
            f"{_brief(entry.config)}; restore whichever was edited."
        )
    fingerprint = _fingerprint_of(found, saved, step)
    weights = found.file(WEIGHTS if step is None else step_file(step), trust=trust)
    registered = entry is not None and registry().get(entry.id) == entry
    model = _network(saved, config, weights, registered=registered)
    check_fingerprint(model, model.config.shape, fingerprint)
    path = found.file(EXAMPLES, trust=trust)
    images = _images(model, path)
    if entry is not None:
        for key, about in (("examples", entry.examples), ("probes", entry.probes)):
            check_images(Selection(about.dataset, about.split, tuple(about.positions()), images[key]), about)
        model.examples, model.probes = (
            entry.examples.inputs(images["examples"]),
            entry.probes.inputs(images["probes"]),
        )
    else:
        model.examples, model.probes = pixels(images["examples"]), pixels(images["probes"])
    model.entry = entry
    return model


def _brief(config: dict[str, Any]) -> str:
    """A configuration for a message."""
    return textwrap.shorten(repr(config), 600, placeholder=" ...")


def _fingerprint_of(found: Located, saved: SavedConfig, step: int | None) -> Fingerprint:
    """Of the final weights, or of those of a step."""
    if step is None:
        return saved.fingerprint if found.entry is None or found.entry.fingerprint is None else found.entry.fingerprint
    steps = saved.steps if found.entry is None else found.entry.steps
    if step not in steps:
        kept = f"kept were {', '.join(map(str, sorted(steps)))}, and the end" if steps else "only its end was kept"
        raise UnknownCheckpointError(f"{found.name} has no weights of step {step!r}: {kept}.")
    return steps[step].fingerprint


def _network(saved: SavedConfig, config: Path, weights: Path, *, registered: bool) -> Autoencoder:
    """The network that a configuration describes, with its weights, in eval mode; nobody's generator is touched."""
    if _asks_for(saved.config, "pretrained"):
        raise CorruptCheckpointError(
            f"{config} asks for pretrained weights from elsewhere; a checkpoint brings its own: store it with "
            "pretrained off."
        )
    tensors, training = read_tensors(weights), saved.training.model_dump()
    deepest = max(_numbers(saved.config, ("depth", "layers", "members", "units")), default=0)
    if not registered and deepest > max(len(tensors), *(max(t.shape, default=0) for t in tensors.values()), 0):
        raise CorruptCheckpointError(
            f"{config} describes a network with {deepest} layers, members or units, {weights} holds {len(tensors)} "
            "smaller tensors: the two do not belong together."
        )
    try:
        with torch.random.fork_rng(devices=[]):
            if not registered:  # a stranger's configuration costs no more memory than the weights that came with it
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


def _asks_for(config: Any, key: str) -> bool:
    """Whether ``key`` is set anywhere in a configuration, in those of its members too."""
    if isinstance(config, dict):
        return bool(config.get(key)) or any(_asks_for(value, key) for value in config.values())
    return isinstance(config, list) and any(_asks_for(value, key) for value in config)


def _numbers(config: Any, keys: tuple[str, ...]) -> list[int]:
    """Every number under one of these keys, at any depth."""
    if not isinstance(config, dict):
        return []
    inner = [number for value in config.values() for number in _numbers(value, keys)]
    return inner + [config[key] for key in keys if isinstance(config.get(key), int)]


def _images(model: Autoencoder, path: Path) -> dict[str, Tensor]:
    """Training images and starts as they are stored, of the shape that the network maps."""
    images = read_tensors(path)
    if set(images) != {"examples", "probes"} or any(
        t.dtype not in (torch.uint8, torch.float32) for t in images.values()
    ):
        raise CorruptCheckpointError(
            f"{path} must hold 'examples' and 'probes' as uint8 or float32, got "
            f"{ {name: str(t.dtype) for name, t in images.items()} }."
        )
    for key, found in images.items():
        if found.shape[1:] != model.config.shape or not len(found):
            raise CorruptCheckpointError(
                f"{path}: {key} are {tuple(found.shape)}, the network maps {tuple(model.config.shape)}; "
                "the images are of another checkpoint."
            )
    return images


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
    entry = require_entry(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not those of the devices: they are not put back
        model = build(entry.architecture, entry.config, entry.recipe.training.model_dump())
    model.entry = entry
    return model


def build(architecture: str, config: dict[str, Any], training: dict[str, Any]) -> Autoencoder:
    """A model of a named architecture."""
    if architecture not in ARCHITECTURES:
        raise UnknownCheckpointError(f"no architecture {architecture!r}. {did_you_mean(architecture, ARCHITECTURES)}")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # the zoo's weights are float32, whatever the caller computes in
    try:
        return ARCHITECTURES[architecture](config, training=training)
    finally:
        torch.set_default_dtype(before)
