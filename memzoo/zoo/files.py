"""The files of a checkpoint: written aside and renamed, hashed, and read with every way of being wrong told apart."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from memzoo.errors import CheckpointMissingError, CorruptCheckpointError
from memzoo.models import Config, Training
from memzoo.zoo.entry import File, Fingerprint

WEIGHTS, CONFIG, EXAMPLES, CARD = "model.safetensors", "config.json", "examples.safetensors", "README.md"
HASHED = (WEIGHTS, CONFIG, EXAMPLES)


class SavedConfig(Config):
    """``config.json``: what rebuilds the model without the registry."""

    id: str
    architecture: str
    config: dict[str, Any]
    training: Training
    fingerprint: Fingerprint


def describe(path: Path) -> File:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(bytes=path.stat().st_size, sha256=digest)


def check_file(path: Path, wanted: File) -> None:
    """Raise when ``path`` is not exactly the file that was published."""
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; reinstall memzoo or restore the file.")
    size = path.stat().st_size
    _refuse_html(path)
    if size != wanted.bytes:
        what = "cut short" if size < wanted.bytes else "another file"
        raise CorruptCheckpointError(
            f"{path} has {size} bytes, the registry says {wanted.bytes}: {what}; delete it and get it again."
        )
    found = describe(path).sha256
    if found != wanted.sha256:
        raise CorruptCheckpointError(
            f"{path} has SHA-256 {found[:12]}..., the registry says {wanted.sha256[:12]}...: its content was changed "
            "or damaged; delete it and get it again."
        )


def _refuse_html(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(256).lstrip()[:15].lower()
    if path.suffix == ".safetensors" and head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CorruptCheckpointError(
            f"{path} is an HTML page, not weights: the download got an error or login page; delete it and get it again."
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; no other format is ever opened."""
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; a checkpoint has {', '.join(HASHED)}.")
    _refuse_html(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CorruptCheckpointError(
            f"{path} is no readable safetensors file ({path.stat().st_size} bytes): {error}; "
            "delete it and get it again."
        ) from error


def read_config(path: Path) -> SavedConfig:
    """The checked ``config.json`` of a checkpoint folder."""
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; a checkpoint has {', '.join(HASHED)}.")
    try:
        return SavedConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        raise CorruptCheckpointError(f"{path} is not a memzoo configuration: {error}") from error


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy ``tensors`` into ``model``; names, shapes, types and finiteness must match exactly."""
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise CorruptCheckpointError(
            f"{path} does not fit {type(model).__name__}: missing {missing or 'nothing'}, "
            f"unexpected {extra or 'nothing'}; the configuration is of another network, or the file is."
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise CorruptCheckpointError(
                f"{path}: {name} is {tuple(tensor.shape)} {tensor.dtype}, the network needs "
                f"{tuple(wanted[name].shape)} {wanted[name].dtype}; the configuration is of another network."
            )
        if not tensor.isfinite().all():
            raise CorruptCheckpointError(f"{path}: {name} holds NaN or infinity; the weights are of no use.")
    model.load_state_dict(tensors, strict=True)


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """A fresh folder to write into: takes the place of ``folder`` when the block ends well, else it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        aside.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(old / folder.name)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
