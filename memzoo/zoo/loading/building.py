"""Build the network of a checkpoint: untrained from its entry, or with its weights from its files."""

import math
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from memzoo._attempt import is_out_of_memory
from memzoo._reading import show_text
from memzoo.errors import ARGUMENT_ERRORS, CorruptCheckpointError, MemzooError, UnknownCheckpointError
from memzoo.models import ARCHITECTURES, ArchitectureConfig, Autoencoder
from memzoo.zoo.entry import describe_problems
from memzoo.zoo.loading.limits import limit_parameters
from memzoo.zoo.registry import (
    SavedConfig,
    check_tensors,
    did_you_mean,
    read_tensors,
    refuse_numbers_as_text,
    require_entry,
)

ALWAYS_ALLOWED = 2**20
"""Number that any configuration may hold, however few weights it came with."""


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
    kind = _find_architecture(architecture)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # as the weights of the zoo are
    try:
        return kind(config, training=training)
    finally:
        torch.set_default_dtype(default)


def _find_architecture(name: str) -> type[Autoencoder]:
    """Return the architecture of a name."""
    if name not in ARCHITECTURES:
        raise UnknownCheckpointError(f"no architecture '{show_text(name)}'. {did_you_mean(name, ARCHITECTURES)}")
    return ARCHITECTURES[name]


def rebuild(saved: SavedConfig, config: Path, weights: Path, *, registered: bool) -> Autoencoder:
    """Rebuild the network that a configuration describes, with its weights, in eval mode.

    The global random generator is left as it was. A stranger's configuration costs no more memory than the weights that
    came with it: its network is first built on the meta device, where tensors have shapes and no values.
    """
    tensors = read_tensors(weights)
    training = saved.training.model_dump()
    if not registered:
        _check_numbers(saved, tensors, config, weights)
    try:
        with torch.random.fork_rng(devices=[]):  # an initialisation draws from the global generator
            if not registered:
                most = _count_parameters(saved, tensors)
                problem = (
                    f"{config} describes a network of more than {most} parameters, {weights} holds fewer tensors: the "
                    "two do not belong together."
                )
                with torch.device("meta"), limit_parameters(most, math.inf, problem):
                    untrained = build(saved.architecture, saved.config, training)
                check_tensors(untrained, tensors, weights)
            model = build(saved.architecture, saved.config, training)
    # The layers of a stranger's configuration may fail in any way, most of all those of timm.
    except Exception as error:
        if is_out_of_memory(error) or (isinstance(error, MemzooError) and not isinstance(error, ARGUMENT_ERRORS)):
            raise
        raise CorruptCheckpointError(f"{config} is not a memzoo configuration: {error}") from error
    check_tensors(model, tensors, weights)
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def check_description(saved: SavedConfig, path: Path) -> ArchitectureConfig:
    """Return the configuration of the network, checked by its architecture; nothing is built.

    Raises:
        UnknownCheckpointError: There is no such architecture.
        CorruptCheckpointError: The configuration does not fit it, or asks for weights from elsewhere.
    """
    if _asks_for(saved.config, "pretrained"):
        raise CorruptCheckpointError(
            f"{path} asks for pretrained weights from elsewhere; a checkpoint brings its own: store it with "
            "pretrained off."
        )
    architecture = _find_architecture(saved.architecture)
    try:
        config = architecture.config_class.model_validate(saved.config)
    except ValidationError as error:
        problems = describe_problems(error, "config")
        raise CorruptCheckpointError(f"{path} is not a memzoo configuration: {problems}.") from error
    # A validator that sees the configuration before it is checked may raise any error.
    except Exception as error:
        raise CorruptCheckpointError(f"{path} is not a memzoo configuration: config: {error}.") from error
    refuse_numbers_as_text(saved.config, config.model_dump(mode="json"), path, "config")
    return config


def _check_numbers(saved: SavedConfig, tensors: dict[str, Tensor], config: Path, weights: Path) -> None:
    """Raise if a number in a configuration is larger than any that a network with these weights can have.

    Already a list of as many widths would take all memory.
    """
    stored = sum(tensor.numel() for tensor in tensors.values())
    most = max(ALWAYS_ALLOWED, stored)
    largest = next((number for number in _find_numbers(saved.config) if not number <= most), None)  # also NaN
    if largest is not None:
        raise CorruptCheckpointError(
            f"{config} describes a network by the number {largest}, {weights} holds {stored} numbers in all: the two "
            "do not belong together."
        )


def _count_parameters(saved: SavedConfig, tensors: dict[str, Tensor]) -> int:
    """Return how many parameters the building of a network with these weights can need at most.

    Some are made again while it is built, or belong to layers that are left out at the end.
    """
    # An ensemble stacks the parameters (names, members, *shape) of one shape.
    stacked = saved.architecture == "Ensemble"
    count = sum(math.prod(tensor.shape[:2]) if stacked else 1 for tensor in tensors.values())
    return 1000 + 4 * count


def _asks_for(config: Any, key: str) -> bool:
    """Tell whether ``key`` is set anywhere in a configuration, in those of its members too."""
    if isinstance(config, dict):
        return bool(config.get(key)) or any(_asks_for(value, key) for value in config.values())
    return isinstance(config, list) and any(_asks_for(value, key) for value in config)


def _find_numbers(config: Any) -> list[float]:
    """Find every number in a configuration, at any depth."""
    if isinstance(config, (dict, list)):
        parts = config.values() if isinstance(config, dict) else config
        return [number for part in parts for number in _find_numbers(part)]
    return [config] if isinstance(config, (int, float)) else []
