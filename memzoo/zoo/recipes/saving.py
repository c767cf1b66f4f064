"""Store a network that was trained by anyone's Trainer as a checkpoint folder that ``load`` and ``audit`` read."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from memzoo._checks import check_batch, check_same_shape
from memzoo.callbacks import KeepSteps
from memzoo.errors import InvalidTypeError
from memzoo.models import ARCHITECTURES, Autoencoder
from memzoo.zoo.cards import history_of, write_history
from memzoo.zoo.entry import CONFIG, EXAMPLES, HISTORY, WEIGHTS, Fingerprint, Step, step_file
from memzoo.zoo.loading import take_fingerprint
from memzoo.zoo.registry import SavedConfig, check_tensors, check_writable, written_aside


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
    r"""Write a trained network of memzoo as a folder: weights, those kept on the way, configuration, images, history.

    ``memzoo.load("local-dir:FOLDER")`` loads it, ``memzoo.load("local-dir:FOLDER", step=100)`` the weights after step
    100. All files are written aside first, so there is never half a folder. For a zoo that others can retrain, write a
    registry entry with a recipe instead, and use ``memzoo train``.

    Args:
        model: Of an architecture of memzoo; its weights are stored in float32.
        folder: Where; it takes the name of the folder as its id.
        examples: Training images (n, \*shape), as the network was given them.
        probes: Held-out starts (B, \*shape), likewise.
        keeper: Callback of the run that kept weights.
        history: Of an ``AttractorCallback`` in the run.
        overwrite: Replace an existing folder.

    Returns:
        The folder.

    Raises:
        FileExistsError: It is there, and ``overwrite`` is off.
        CorruptCheckpointError: Weights that are not finite.
        StorageError: The place cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists; give another folder, or overwrite=True to replace it.")
    name = type(model).__name__
    if ARCHITECTURES.get(name) is not type(model):
        raise InvalidTypeError(f"only architectures of memzoo can be rebuilt from a configuration, got a {name}.")
    for what, images in (("examples", examples), ("probes", probes)):
        check_batch(images, what)
    check_same_shape(examples, probes, "examples and probes")
    model.check_shape(examples)
    check_writable(folder.parent)

    kept = {} if keeper is None else keeper.kept
    weights = {WEIGHTS: _stored(model.state_dict()), **{step_file(step): _stored(kept[step]) for step in sorted(kept)}}
    rebuilt = _rebuilt(model)
    for file, tensors in weights.items():
        check_tensors(rebuilt, tensors, folder / file)
    config, training = model.config.model_dump(mode="json"), model.training_config
    steps = {
        step: Step(epoch=keeper.epochs[step], fingerprint=_fingerprint(rebuilt, weights[step_file(step)]))
        for step in sorted(kept)
        if keeper is not None
    }
    saved = SavedConfig(
        id=folder.name,
        architecture=name,
        config=config,
        training=training,
        fingerprint=_fingerprint(rebuilt, weights[WEIGHTS]),
        steps=steps,
    )
    with written_aside(folder) as aside:
        for file, tensors in weights.items():
            save_file(tensors, aside / file)
        images = {"examples": examples, "probes": probes}
        save_file(_stored(images), aside / EXAMPLES)
        content = saved.model_dump(mode="json", exclude=set() if steps else {"steps"})
        (aside / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        write_history(history_of(model.course, history or []), aside / HISTORY)
    return folder


def _stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: (value.float() if value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in state.items()
    }


def _rebuilt(model: Autoencoder) -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        return type(model)(model.config, training=model.training_config)


def _fingerprint(rebuilt: Autoencoder, weights: dict[str, Tensor]) -> Fingerprint:
    """Of the network with these weights, as it will load."""
    rebuilt.load_state_dict(weights)
    return take_fingerprint(rebuilt.eval(), rebuilt.config.shape)
