"""Write the folder of a checkpoint, and record it in a registry."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from memzoo._user_warning import warn_user
from memzoo.data import Selection
from memzoo.errors import CheckpointMissingError
from memzoo.models import Autoencoder
from memzoo.zoo.cards import ALONG_A_CYCLE, TIMES, History, draw_pictures, render_card, write_history
from memzoo.zoo.entry import CONFIG, EXAMPLES, HISTORY, WEIGHTS, Entry, step_file
from memzoo.zoo.loading import read_entry
from memzoo.zoo.registry import (
    CARD,
    ENTRY,
    PICTURES,
    SavedConfig,
    config_text,
    describe,
    entry_yaml,
    explain_write_errors,
    insert_entry,
    write_aside,
    write_text,
)


def write_folder(
    folder: Path,
    entry: Entry,
    model: Autoencoder,
    examples: Selection,
    probes: Selection,
    history: History,
    weights: dict[int | None, dict[str, Tensor]],
) -> None:
    """Write all files of a checkpoint at once, or none.

    Args:
        folder: Folder to write.
        entry: Entry of the checkpoint; the hashes of the files are added to it.
        model: Network with the final weights, its examples and its starts, of which the pictures are drawn.
        examples: Training images, as they are stored.
        probes: Held-out starts, in the same form.
        history: History of the training.
        weights: Weights by optimizer step, None for the final ones, in the type in which they are stored.
    """
    assert entry.fingerprint is not None
    states = {WEIGHTS if step is None else step_file(step): state for step, state in weights.items()}
    images = {"examples": examples.images, "probes": probes.images}
    saved = SavedConfig(
        id=entry.id,
        architecture=entry.architecture,
        config=entry.config,
        training=entry.recipe.training,
        fingerprint=entry.fingerprint,
        steps=entry.steps,
    )
    with explain_write_errors(folder), write_aside(folder) as aside:
        write_contents(aside, saved, states, images, history, record_files=False)
        hashed = [*states, CONFIG, EXAMPLES, HISTORY]
        entry = entry.model_copy(update={"files": {name: describe(aside / name) for name in hashed}})
        try:
            draw_pictures(model, history, aside, ALONG_A_CYCLE if entry.recipe.targets == "next" else TIMES)
        except Exception as error:  # hours of training are worth more than their pictures
            warn_user(f"the pictures of {entry.id} could not be drawn, the rest is complete: {error}")
        (aside / CARD).write_text(render_card(entry, aside), encoding="utf-8")
        (aside / ENTRY).write_text(entry_yaml(entry), encoding="utf-8")


def write_contents(
    folder: Path,
    saved: SavedConfig,
    weights: dict[str, dict[str, Tensor]],
    images: dict[str, Tensor],
    history: History,
    *,
    record_files: bool,
) -> None:
    """Write weights, images, configuration and history of a checkpoint into a folder that is there.

    Args:
        folder: Folder to write into.
        saved: Configuration from which the network is built again.
        weights: Weights by the name of their file.
        images: Training images and starts, as they are stored.
        history: History of the training.
        record_files: Whether the configuration records sizes and hashes of all files, as no entry will do it.
    """
    for name, tensors in {**weights, EXAMPLES: images}.items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
    write_history(history, folder / HISTORY)
    content = saved.content_with_hashes(folder) if record_files else saved.content()
    (folder / CONFIG).write_text(config_text(content), encoding="utf-8")


def record(folder: Path, root: Path) -> None:
    """Put a trained folder into a source tree, or beside another registry file.

    Args:
        folder: Folder that :func:`train` wrote.
        root: A registry file, or the folder that holds ``checkpoints.yaml``: the entry is written over the one of the
            same id, the files go to ``checkpoints/ID/`` beside it.
    """
    path = root / "checkpoints.yaml" if root.is_dir() else root
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; give the root of a memzoo source tree, or a registry file.")
    if not (folder / ENTRY).is_file():
        raise CheckpointMissingError(f"{folder / ENTRY} is missing; give a folder that `memzoo train` wrote.")
    entry = read_entry(folder / ENTRY)
    text = insert_entry(entry, path)
    with write_aside(path.parent / "checkpoints" / entry.id) as aside:
        for name in (*entry.files, CARD, *PICTURES):
            if (folder / name).is_file():
                (aside / name).write_bytes((folder / name).read_bytes())
    write_text(text, path)
