"""Somebody's trained module, from the checkpoint that Lightning wrote and the class it was trained as."""

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule
from torch import nn

from memzoo.errors import AuditInputError, CheckpointMissingError, CorruptCheckpointError
from memzoo.modules import Adapter
from memzoo.zoo.loading import load


def load_module(checkpoint: str, model: str | None = None) -> nn.Module:
    """The module of a checkpoint, on the CPU; nothing that a file holds is executed.

    Args:
        checkpoint: A file as Lightning's ModelCheckpoint writes it, or without ``model`` any name that
            :func:`memzoo.load` takes.
        model: ``package.module.Class``, a LightningModule. Imported with the current directory on the path: importing
            runs that code, which is yours.

    Raises:
        AuditInputError: No such class, or the checkpoint has to be named otherwise.
        CheckpointMissingError: No such file.
        CorruptCheckpointError: No checkpoint, one that holds more than tensors and plain values, or one of another
            class.
    """
    if model is None:
        if Path(checkpoint).suffix in (".ckpt", ".pt", ".pth"):
            raise AuditInputError(
                f"{checkpoint} holds weights and not the class they belong to; name it: --model package.module.Class."
            )
        return load(checkpoint)
    if "://" in checkpoint:
        raise AuditInputError(
            f"{checkpoint} is no file; checkpoints are not fetched from the network, download it first."
        )
    kind = import_object(model, "--model")
    if not (isinstance(kind, type) and issubclass(kind, LightningModule)):
        raise AuditInputError(f"{model} is no LightningModule class but {_described(kind)}; name the class itself.")
    path = Path(checkpoint)
    if not path.is_file():
        raise CheckpointMissingError(f"no checkpoint at {path.absolute()}; give the .ckpt that the training wrote.")
    return _restored(kind, path)


def _restored(kind: type[LightningModule], path: Path) -> nn.Module:
    try:
        return kind.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    except pickle.UnpicklingError as error:
        raise CorruptCheckpointError(
            f"{path} is no checkpoint, or holds Python objects beside tensors and plain values, which could run any "
            f"code and were not opened ({_first_line(error)}). Save the hyperparameters as plain numbers, strings, "
            "lists and dicts."
        ) from error
    except (RuntimeError, KeyError, EOFError, TypeError, ValueError, OSError, AttributeError) as error:
        raise CorruptCheckpointError(
            f"{path} cannot be loaded as {kind.__name__}: {_first_line(error)}. It is damaged, or of another class, or "
            "the class did not call save_hyperparameters() and needs arguments."
        ) from error


def load_self_map(name: str | None) -> Adapter | None:
    """``package.module.function``, called as ``function(module, x)``; None for None."""
    if name is None:
        return None
    found = import_object(name, "--self-map")
    if not callable(found):
        raise AuditInputError(f"{name} is no function but {_described(found)}; it is called as function(module, x).")
    return cast(Adapter, found)


def import_object(name: str, option: str) -> Any:
    """What ``package.module.name`` names, looked for in the current directory, too."""
    module, _, attribute = name.rpartition(".")
    if not module:
        raise AuditInputError(
            f"{option} takes package.module.Name, got {name!r}; put the name of its module before it."
        )
    try:
        with current_directory_on_path():
            found = import_module(module)
    except ImportError as error:
        raise AuditInputError(
            f"{option} {name}: {_first_line(error)}. It is imported from the installed packages and from "
            f"{Path.cwd()}; run the command where `import {module}` works."
        ) from error
    if not hasattr(found, attribute):
        file = getattr(found, "__file__", None) or "built in"
        raise AuditInputError(f"{option} {name}: {module} ({file}) has no {attribute!r}; check the name.")
    return getattr(found, attribute)


@contextmanager
def current_directory_on_path() -> Iterator[None]:
    """As ``python -m`` has it."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _described(value: Any) -> str:
    return f"a {type(value).__name__}" if not isinstance(value, type) else f"the class {value.__name__}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" .:")
