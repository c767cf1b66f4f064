"""Build the network of a checkpoint: untrained from its entry, or with its weights from its files."""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from memzoo.errors import ARGUMENT_ERRORS, CorruptCheckpointError, MemzooError, UnknownCheckpointError
from memzoo.models import ARCHITECTURES, Autoencoder
from memzoo.zoo.registry import SavedConfig, check_tensors, did_you_mean, read_tensors, require_entry


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


def rebuild(saved: SavedConfig, config: Path, weights: Path, *, registered: bool) -> Autoencoder:
    """Rebuild the network that a configuration describes, with its weights, in eval mode.

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
