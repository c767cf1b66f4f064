"""Store a network that a user has trained as a checkpoint folder, which ``load`` and ``audit`` read."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo.callbacks import KeepSteps
from memzoo.errors import AlreadyExistsError, InvalidTypeError
from memzoo.models import ARCHITECTURES, Autoencoder
from memzoo.zoo.cards import make_history
from memzoo.zoo.entry import WEIGHTS, Fingerprint, Step, step_file
from memzoo.zoo.loading import take_fingerprint
from memzoo.zoo.recipes.folder import write_contents
from memzoo.zoo.registry import SavedConfig, check_tensors, check_writable, explain_write_errors, write_aside


def save(
    model: Autoencoder,
    folder: str | Path,
    *,
    examples: Tensor,
    probes: Tensor,
    keeper: KeepSteps | None = None,
    history: list[dict[str, Any]] | None = None,
    overwrite: bool = False,
) -> Path:
    r"""Write a trained network of memzoo as a folder: weights (also of earlier steps), configuration, images, history.

    ``memzoo.load("local-dir:FOLDER")`` loads the network; ``memzoo.load("local-dir:FOLDER", step=100)`` loads it with
    the weights after step 100. All files are written to another folder first, which then gets the right name, so the
    folder is never half-written. For a zoo that others can retrain, write a registry entry with a recipe instead, and
    use ``memzoo train``.

    Args:
        model: Network of an architecture of memzoo; its weights are stored in float32.
        folder: Folder to write; its name becomes the id of the checkpoint.
        examples: Training images (n, \*shape), as the network received them.
        probes: Held-out starts (B, \*shape), in the same form.
        keeper: Callback of the run that kept weights of earlier steps.
        history: History of an ``AttractorCallback`` in the run.
        overwrite: Replace an existing folder.

    Returns:
        The folder.

    Raises:
        AlreadyExistsError: The folder exists, and ``overwrite`` is False.
        CorruptCheckpointError: Some weights are not finite.
        StorageError: The folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise AlreadyExistsError(f"{folder} exists; give another folder, or overwrite=True to replace it.")
    name = type(model).__name__
    if ARCHITECTURES.get(name) is not type(model):
        raise InvalidTypeError(f"only architectures of memzoo can be rebuilt from a configuration, got a {name}.")
    _check_images(model, examples, probes)
    check_writable(folder.parent)

    states = {WEIGHTS: model.state_dict()}
    epochs = {}
    if keeper is not None:
        states |= {step_file(step): keeper.kept[step] for step in sorted(keeper.kept)}
        epochs = {step: keeper.epochs[step] for step in sorted(keeper.kept)}
    weights = {file: _convert_to_float32(state) for file, state in states.items()}
    rebuilt = _rebuild(model)
    for file, tensors in weights.items():
        check_tensors(rebuilt, tensors, folder / file)
    steps = {
        step: Step(epoch=epoch, fingerprint=_take_fingerprint(rebuilt, weights[step_file(step)]))
        for step, epoch in epochs.items()
    }
    saved = SavedConfig(
        id=folder.name,
        architecture=name,
        config=model.config.model_dump(mode="json"),
        training=model.training_config,
        fingerprint=_take_fingerprint(rebuilt, weights[WEIGHTS]),
        steps=steps,
    )
    images = _convert_to_float32({"examples": examples, "probes": probes})
    with explain_write_errors(folder), write_aside(folder) as aside:
        write_contents(aside, saved, weights, images, make_history(model.course, history or []), record_files=True)
    return folder


def _check_images(model: Autoencoder, examples: Tensor, probes: Tensor) -> None:
    """Raise if the network does not map images of this shape, or the images are not finite."""
    check_batch(examples, "examples")
    check_batch(probes, "probes")
    check_same_shape(examples, probes, "examples and probes")
    model.check_shape(examples)


def _convert_to_float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU, and convert those of floating-point numbers to float32."""
    return {
        name: (value.float() if value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in state.items()
    }


def _rebuild(model: Autoencoder) -> Autoencoder:
    """Build the same network again, with new initial weights; the global generator keeps its state."""
    with torch.random.fork_rng(devices=[]):
        return type(model)(model.config, training=model.training_config)


def _take_fingerprint(rebuilt: Autoencoder, weights: dict[str, Tensor]) -> Fingerprint:
    """Take the fingerprint of the network as it will be after loading these weights."""
    rebuilt.load_state_dict(weights)
    return take_fingerprint(rebuilt.eval(), rebuilt.config.shape)
