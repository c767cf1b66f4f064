"""Read and check the files of a checkpoint, and say of each way in which one can be wrong what it is.

Only safetensors and JSON are ever opened: a pickle, which ``torch.save`` writes, can run any code when it is read.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from memzoo._reading import (
    check_regular,
    is_file,
    list_folder,
    read_json_object,
    read_safetensors,
    refuse_other_formats,
    show_text,
    show_texts,
)
from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, InvalidArgumentError, StorageError
from memzoo.models import Config, Training
from memzoo.zoo.entry import CONFIG, EXAMPLES, FILE, WEIGHTS, File, FileName, Fingerprint, Step, describe_problems
from memzoo.zoo.registry.writing import write_text

CARD = "README.md"
ENTRY = "entry.yaml"
CURVE = "training.png"
TRAJECTORIES = "trajectories.png"
PICTURES = (CURVE, TRAJECTORIES)
NEEDED = (WEIGHTS, CONFIG, EXAMPLES)
"""Without these there is no checkpoint."""
PICKLES = "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl", "checkpoint.pt", "model.bin"
"""Names under which other packages save weights as a pickle."""
SHOWN = 40
"""Characters of a text that a message shows."""


class SavedConfig(Config):
    """``config.json``: what rebuilds the model without the registry."""

    id: str
    architecture: str
    config: dict[str, Any]
    training: Training
    fingerprint: Fingerprint
    steps: dict[int, Step] = {}
    files: dict[FileName, File] = {}
    """Sizes and hashes of all files, its own as :func:`describe_config` takes it. A folder with an entry has them there
    instead."""

    def content_with_hashes(self, folder: Path) -> dict[str, Any]:
        """Return what ``config.json`` holds in a folder whose other files are written."""
        names = sorted(path.name for path in list_folder(folder) if re.search(FILE, path.name) and path.name != CONFIG)
        content = self.content()
        files = {name: describe(folder / name) for name in names} | {CONFIG: describe_config(content)}
        return content | {"files": {name: file.model_dump() for name, file in files.items()}}

    def content(self) -> dict[str, Any]:
        """Return what ``config.json`` holds, without a record of files."""
        return self.model_dump(mode="json", exclude={"files"} if self.steps else {"files", "steps"})


def describe(path: Path) -> File:
    """Return the size and the SHA-256 of a file."""
    size = check_regular(path)
    if not size:
        raise CorruptCheckpointError(f"{path} is empty; get it again.")
    return File(bytes=size, sha256=_compute_sha256(path))


def _compute_sha256(path: Path) -> str:
    """Hash the content of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise  # whoever waits for a file that is fetched again tries once more
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error


def check_file(path: Path, wanted: File) -> None:
    """Raise unless ``path`` is exactly the file that was published.

    Args:
        path: File.
        wanted: Its size and hash in the registry.

    Raises:
        CheckpointMissingError: There is no such file.
        CorruptCheckpointError: Its content is another; the message says of which kind.
    """
    if not is_file(path):
        raise CheckpointMissingError(f"{path} is missing; reinstall memzoo or restore the file.")
    size = path.stat().st_size
    # A web page or a pickle has another size and hash as well, but its kind says more about what went wrong.
    refuse_other_formats(path)
    if size != wanted.bytes:
        what = "cut short" if size < wanted.bytes else "another file"
        raise CorruptCheckpointError(
            f"{path} has {size} bytes, the registry says {wanted.bytes}: {what}; delete it and get it again."
        )
    sha256 = _compute_sha256(path)
    if sha256 != wanted.sha256:
        raise CorruptCheckpointError(
            f"{path} has SHA-256 {sha256[:12]}..., the registry says {wanted.sha256[:12]}...: its content was changed "
            "or damaged; delete it and get it again."
        )


def refuse_pickles(folder: Path) -> None:
    """Raise if a folder has a pickle in the place of the weights."""
    found = [name for name in PICKLES if is_file(folder / name)]
    if found and not is_file(folder / WEIGHTS):
        raise CorruptCheckpointError(
            f"{folder} holds {', '.join(found)}, which may be a pickle and was not opened: a pickle can run any code. "
            f"A checkpoint has {', '.join(NEEDED)}."
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; no other format is ever opened."""
    _require(path)
    return read_safetensors(path)


def read_config(path: Path) -> SavedConfig:
    """Read the ``config.json`` of a checkpoint and check it against its schema."""
    _require(path)
    content = read_json_object(path)
    try:
        saved = SavedConfig.model_validate(content)
    except ValidationError as error:
        raise CorruptCheckpointError(f"{path} is not a memzoo configuration: {describe_problems(error)}.") from error
    refuse_numbers_as_text(content, saved.model_dump(mode="json"), path)
    return saved


def refuse_numbers_as_text(given: Any, parsed: Any, path: Path, place: str = "") -> None:
    """Raise if a text stands where a number belongs: a schema would convert it, and earlier checks would not see it.

    Args:
        given: Content of a file.
        parsed: The same content, as its schema understands it.
        path: The file, for the message.
        place: Fields within which the content lies.
    """
    if isinstance(given, str) and isinstance(parsed, (int, float)):
        raise CorruptCheckpointError(
            f"{path} is not a memzoo configuration: {place} is the text {given[:SHOWN]!r}, which must be a number."
        )
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(given, dict) and isinstance(parsed, dict):
        pairs = [(key, value, parsed.get(key)) for key, value in given.items()]
    elif isinstance(given, list) and isinstance(parsed, (list, tuple)):
        pairs = list(zip(range(len(given)), given, parsed, strict=False))
    for key, value, understood in pairs:
        refuse_numbers_as_text(value, understood, path, f"{place}.{key}" if place else str(key))


def describe_config(content: dict[str, Any]) -> File:
    """Return size and SHA-256 of a ``config.json`` with this content, as it would be without its record of files."""
    text = config_text({key: value for key, value in content.items() if key != "files"}).encode()
    return File(bytes=len(text), sha256=hashlib.sha256(text).hexdigest())


def config_text(content: dict[str, Any]) -> str:
    """Return the text of a ``config.json`` with this content."""
    return json.dumps(content, indent=2) + "\n"


def check_config(path: Path) -> None:
    """Raise unless a ``config.json`` that records hashes is as it was when they were recorded.

    Raises:
        CorruptCheckpointError: It was changed; the message says what to do if that was meant.
    """
    content = read_json_object(path)
    recorded = content.get("files", {}).get(CONFIG)
    if content.get("files") and recorded != describe_config(content).model_dump():
        raise CorruptCheckpointError(
            f"{path} has another content than its own record of files says: it was changed or damaged. Get it again; "
            f"or, if you changed it yourself, record that by memzoo.zoo.add_hashes({str(path.parent)!r})."
        )


def add_hashes(folder: str | Path) -> None:
    """Record size and SHA-256 of every file of a checkpoint folder in its ``config.json``, as :func:`memzoo.save` does.

    Folders of earlier versions have no such record, and :func:`memzoo.load` warns of that. This takes their files as
    they are now. A folder with an ``entry.yaml`` has the hashes there.

    Raises:
        CheckpointMissingError: There is no configuration.
        CorruptCheckpointError: It is damaged.
        InvalidArgumentError: The folder has an ``entry.yaml``.
        StorageError: The folder cannot be written.
    """
    folder = Path(folder)
    if is_file(folder / ENTRY):
        raise InvalidArgumentError(f"{folder} has an {ENTRY}, which records its files; leave {CONFIG} as it is.")
    path = folder / CONFIG
    saved = read_config(path)
    write_text(config_text(saved.content_with_hashes(folder)), path)


def _require(path: Path) -> None:
    """Raise if a file is not there."""
    if not is_file(path):
        raise CheckpointMissingError(f"{path} is missing; a checkpoint has {', '.join(NEEDED)}.")


def check_tensors(model: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Raise unless ``tensors`` are the weights of ``model``: the same names, shapes and types, all finite.

    What the network holds in float32 may be stored in float16.
    """
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    extra = sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise CorruptCheckpointError(
            f"{path} does not fit {type(model).__name__}: missing {_name(missing)}, unexpected "
            f"{_name(extra)}; the configuration is of another network, or the file is."
        )
    for name, tensor in tensors.items():
        if not _fits(tensor, wanted[name]):
            raise CorruptCheckpointError(
                f"{path}: {show_text(name)} is {tuple(tensor.shape)} {tensor.dtype}, the network needs "
                f"{tuple(wanted[name].shape)} {wanted[name].dtype}; the configuration is of another network."
            )
        if not tensor.isfinite().all():
            raise CorruptCheckpointError(f"{path}: {show_text(name)} holds NaN or infinity; the weights are of no use.")


def _name(tensors: list[str]) -> str:
    """Name the first of some tensors."""
    return f"[{show_texts(tensors)}]" if tensors else "nothing"


def _fits(stored: Tensor, wanted: Tensor) -> bool:
    """Tell whether a stored tensor has the shape that the network needs, and a type that it can be widened to."""
    is_narrower = stored.dtype == torch.float16 and wanted.dtype == torch.float32
    return stored.shape == wanted.shape and (is_narrower or stored.dtype == wanted.dtype)
