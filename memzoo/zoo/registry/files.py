"""Read and check the files of a checkpoint, and say of each way in which one can be wrong what it is.

Only safetensors and JSON are ever opened: a pickle, which ``torch.save`` writes, can run any code when it is read.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from memzoo.errors import CheckpointMissingError, CorruptCheckpointError
from memzoo.models import Config, Training
from memzoo.zoo.entry import CONFIG, EXAMPLES, WEIGHTS, File, Fingerprint, Step

CARD = "README.md"
ENTRY = "entry.yaml"
CURVE = "training.png"
TRAJECTORIES = "trajectories.png"
PICTURES = (CURVE, TRAJECTORIES)
NEEDED = (WEIGHTS, CONFIG, EXAMPLES)
"""Without these there is no checkpoint."""
PICKLES = "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl", "checkpoint.pt", "model.bin"
"""Names under which other packages save weights as a pickle."""


class SavedConfig(Config):
    """``config.json``: what rebuilds the model without the registry."""

    id: str
    architecture: str
    config: dict[str, Any]
    training: Training
    fingerprint: Fingerprint
    steps: dict[int, Step] = {}


def describe(path: Path) -> File:
    """Return the size and the SHA-256 of a file."""
    return File(bytes=path.stat().st_size, sha256=_compute_sha256(path))


def _compute_sha256(path: Path) -> str:
    """Hash the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, wanted: File) -> None:
    """Raise unless ``path`` is exactly the file that was published.

    Args:
        path: File.
        wanted: Its size and hash in the registry.

    Raises:
        CheckpointMissingError: There is no such file.
        CorruptCheckpointError: Its content is another; the message says of which kind.
    """
    if not path.is_file():
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


def refuse_other_formats(path: Path) -> None:
    """Raise if a file that should hold tensors is a web page, a pickle, or a pointer to a file that was not fetched."""
    if path.suffix != ".safetensors":
        return
    with path.open("rb") as file:
        head = file.read(256)
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CorruptCheckpointError(
            f"{path} is an HTML page, not weights: the download got an error or login page; delete it and get it again."
        )
    # A pickle begins with the byte 0x80. So may a safetensors file, with the length of its header in 8 bytes, but then
    # the header follows, which is JSON.
    is_bare_pickle = head[:1] == b"\x80" and head[8:9] != b"{"
    is_zip = head.startswith(b"PK\x03\x04")  # as newer versions of torch.save pack their pickle
    if is_bare_pickle or is_zip:
        raise CorruptCheckpointError(
            f"{path} is a pickle (as torch.save writes it), not a safetensors file, and was not opened: a pickle can "
            "run any code. Ask its author for safetensors, or convert it yourself where you trust it."
        )
    if head.startswith(b"version https://git-lfs"):
        raise CorruptCheckpointError(
            f"{path} is a Git LFS pointer, not weights: the repository was cloned without its large files; run "
            "`git lfs pull` there."
        )


def refuse_pickles(folder: Path) -> None:
    """Raise if a folder has a pickle in the place of the weights."""
    found = [name for name in PICKLES if (folder / name).is_file()]
    if found and not (folder / WEIGHTS).is_file():
        raise CorruptCheckpointError(
            f"{folder} holds {', '.join(found)}, which may be a pickle and was not opened: a pickle can run any code. "
            f"A checkpoint has {', '.join(NEEDED)}."
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; no other format is ever opened."""
    _require(path)
    refuse_other_formats(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise CorruptCheckpointError(
            f"{path} is no readable safetensors file ({path.stat().st_size} bytes): {error}; "
            "delete it and get it again."
        ) from error


def read_config(path: Path) -> SavedConfig:
    """Read the ``config.json`` of a checkpoint and check it against its schema."""
    _require(path)
    try:
        return SavedConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is not a memzoo configuration: {error}") from error


def _require(path: Path) -> None:
    """Raise if a file is not there."""
    if not path.is_file():
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
            f"{path} does not fit {type(model).__name__}: missing {missing or 'nothing'}, "
            f"unexpected {extra or 'nothing'}; the configuration is of another network, or the file is."
        )
    for name, tensor in tensors.items():
        if not _fits(tensor, wanted[name]):
            raise CorruptCheckpointError(
                f"{path}: {name} is {tuple(tensor.shape)} {tensor.dtype}, the network needs "
                f"{tuple(wanted[name].shape)} {wanted[name].dtype}; the configuration is of another network."
            )
        if not tensor.isfinite().all():
            raise CorruptCheckpointError(f"{path}: {name} holds NaN or infinity; the weights are of no use.")


def _fits(stored: Tensor, wanted: Tensor) -> bool:
    """Tell whether a stored tensor has the shape that the network needs, and a type that it can be widened to."""
    is_narrower = stored.dtype == torch.float16 and wanted.dtype == torch.float32
    return stored.shape == wanted.shape and (is_narrower or stored.dtype == wanted.dtype)
