"""The files of a checkpoint: written aside and renamed, hashed, and read with every way of being wrong told apart."""

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

from memzoo.errors import CheckpointMissingError, CorruptCheckpointError, StorageError
from memzoo.models import Config, Training
from memzoo.zoo.entry import CONFIG, EXAMPLES, WEIGHTS, File, Fingerprint, Step
from memzoo.zoo.registry.hashes import compute_sha256, remembered_sha256

CARD, ENTRY = "README.md", "entry.yaml"
NEEDED = (WEIGHTS, CONFIG, EXAMPLES)
"""Without these there is no checkpoint."""
PICTURES = (CURVE, TRAJECTORIES) = ("training.png", "trajectories.png")
PICKLED = "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl", "checkpoint.pt", "model.bin"


class SavedConfig(Config):
    """``config.json``: what rebuilds the model without the registry."""

    id: str
    architecture: str
    config: dict[str, Any]
    training: Training
    fingerprint: Fingerprint
    steps: dict[int, Step] = {}


def describe(path: Path) -> File:
    """Size and SHA-256 of a file."""
    return File(bytes=path.stat().st_size, sha256=compute_sha256(path))


def check_file(path: Path, wanted: File, *, trust: bool = True) -> None:
    """Raise when ``path`` is not exactly the file that was published.

    Args:
        path: File.
        wanted: What the registry says of it.
        trust: Believe the hash that was computed when the file had the same size and times; else read it again.
    """
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; reinstall memzoo or restore the file.")
    size = path.stat().st_size
    refuse_other_formats(path)
    if size != wanted.bytes:
        what = "cut short" if size < wanted.bytes else "another file"
        raise CorruptCheckpointError(
            f"{path} has {size} bytes, the registry says {wanted.bytes}: {what}; delete it and get it again."
        )
    found = remembered_sha256(path) if trust else compute_sha256(path)
    if found != wanted.sha256:
        raise CorruptCheckpointError(
            f"{path} has SHA-256 {found[:12]}..., the registry says {wanted.sha256[:12]}...: its content was changed "
            "or damaged; delete it and get it again."
        )


def refuse_other_formats(path: Path) -> None:
    """Raise where a file that should hold tensors is a web page, a pickle or a pointer to what was not fetched."""
    if path.suffix != ".safetensors":
        return
    with path.open("rb") as file:
        head = file.read(256)
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CorruptCheckpointError(
            f"{path} is an HTML page, not weights: the download got an error or login page; delete it and get it again."
        )
    begins_pickled = head[:1] == b"\x80" and head[8:9] != b"{"  # where the header of safetensors begins
    if begins_pickled or head.startswith(b"PK\x03\x04"):
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
    """Raise where a folder has a pickle in the place of the weights."""
    found = [name for name in PICKLED if (folder / name).is_file()]
    if found and not (folder / WEIGHTS).is_file():
        raise CorruptCheckpointError(
            f"{folder} holds {', '.join(found)}, which may be a pickle and was not opened: a pickle can run any code. "
            f"A checkpoint has {', '.join(NEEDED)}."
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; no other format is ever opened."""
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; a checkpoint has {', '.join(NEEDED)}.")
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
    """The checked ``config.json`` of a checkpoint folder."""
    if not path.is_file():
        raise CheckpointMissingError(f"{path} is missing; a checkpoint has {', '.join(NEEDED)}.")
    try:
        return SavedConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is not a memzoo configuration: {error}") from error


def check_tensors(model: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Raise unless ``tensors`` are the weights of ``model``: the same names, shapes and types, all finite.

    What the network holds in float32 may be stored in float16.
    """
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise CorruptCheckpointError(
            f"{path} does not fit {type(model).__name__}: missing {missing or 'nothing'}, "
            f"unexpected {extra or 'nothing'}; the configuration is of another network, or the file is."
        )
    for name, tensor in tensors.items():
        widened = tensor.dtype == torch.float16 and wanted[name].dtype == torch.float32
        if tensor.shape != wanted[name].shape or not (widened or tensor.dtype == wanted[name].dtype):
            raise CorruptCheckpointError(
                f"{path}: {name} is {tuple(tensor.shape)} {tensor.dtype}, the network needs "
                f"{tuple(wanted[name].shape)} {wanted[name].dtype}; the configuration is of another network."
            )
        if not tensor.isfinite().all():
            raise CorruptCheckpointError(f"{path}: {name} holds NaN or infinity; the weights are of no use.")


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
            try:
                aside.rename(folder)
            except OSError:
                (old / folder.name).rename(folder)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Make ``folder``, and raise where nothing can be written into it: before an hour of work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error}); give another folder.") from error
