"""Load the trained module of a user, from a checkpoint that Lightning wrote and the class that was trained."""

import pickle
import re
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

NAMED = 3
"""Keys of a checkpoint that a message names."""


def load_module(checkpoint: str, model: str | None = None) -> nn.Module:
    """Load the module of a checkpoint on the CPU; nothing that a file holds is executed.

    Args:
        checkpoint: A file as Lightning's ModelCheckpoint writes it. Without ``model``, any name that
            :func:`memzoo.load` takes.
        model: ``package.module.Class``, a LightningModule. It is imported with the current directory on the path, so
            that the code of that module runs.

    Raises:
        AuditInputError: There is no such class, or the checkpoint has to be named in another way.
        CheckpointMissingError: There is no such file.
        CorruptCheckpointError: The file is no checkpoint, holds more than tensors and plain values, or is of another
            class.
    """
    if model is None:
        # Such a file holds no class. All other names are those of memzoo's own checkpoints.
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
        raise AuditInputError(f"{model} is no LightningModule class but {_describe_kind(kind)}; name the class itself.")
    path = Path(checkpoint)
    if not path.is_file():
        raise CheckpointMissingError(f"no checkpoint at {path.absolute()}; give the .ckpt that the training wrote.")
    return _restore(kind, path)


def _restore(kind: type[LightningModule], path: Path) -> nn.Module:
    """Build a module of the class and give it the weights of the file."""
    try:
        # With weights_only torch unpickles tensors and plain values, and refuses any other object.
        return kind.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    except pickle.UnpicklingError as error:
        raise CorruptCheckpointError(
            f"{path} is no checkpoint, or holds Python objects beside tensors and plain values, which could run any "
            f"code and were not opened{_name_object(error)}. Save the hyperparameters as plain numbers, strings, lists "
            "and dicts, without such an object: save_hyperparameters(ignore=[...])."
        ) from error
    # torch and the constructor of the class raise these for a damaged file, other keys, or missing arguments.
    except (RuntimeError, KeyError, EOFError, TypeError, ValueError, OSError, AttributeError) as error:
        raise CorruptCheckpointError(
            f"{path} cannot be loaded as {kind.__name__}: {_first_line(error)}{_name_keys(error)}. It is damaged, or "
            "of another class, or the class did not call save_hyperparameters() and needs arguments."
        ) from error


def _name_object(error: BaseException) -> str:
    """Name the class of the object that torch refused, if its message names one."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return "" if found is None else f" (the first is of {found.group(1)})"


def _name_keys(error: BaseException) -> str:
    """Name the first keys that the file has beside those of the class, or lacks, and say what a prefix comes from."""
    said: list[str] = []
    for kind in ("Unexpected", "Missing"):
        found = re.search(rf"{kind} key\(s\) in state_dict: (.*)", str(error))
        keys = re.findall(r'"([^"]+)"', found.group(1)) if found else []
        if keys:
            said.append(f"{kind.lower()} keys {', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''}")
    if any("_orig_mod." in text for text in said):
        said.append("_orig_mod. is the prefix of a module that torch.compile has wrapped: remove it from the keys")
    return f" ({'; '.join(said)})" if said else ""


def load_self_map(name: str | None) -> Adapter | None:
    """Import ``package.module.function``, which is called as ``function(module, x)``; return None for None."""
    if name is None:
        return None
    found = import_object(name, "--self-map")
    if not callable(found):
        raise AuditInputError(
            f"{name} is no function but {_describe_kind(found)}; it is called as function(module, x)."
        )
    return cast(Adapter, found)


def import_object(name: str, option: str) -> Any:
    """Import the object that ``package.module.name`` names, also from the current directory."""
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
        # The file tells a user that another module of this name was found first.
        file = getattr(found, "__file__", None) or "built in"
        raise AuditInputError(f"{option} {name}: {module} ({file}) has no {attribute!r}; check the name.")
    return getattr(found, attribute)


@contextmanager
def current_directory_on_path() -> Iterator[None]:
    """Let modules be imported from the current directory, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _describe_kind(value: Any) -> str:
    """Return what kind of object ``value`` is, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a {type(value).__name__}"


def _first_line(error: BaseException) -> str:
    """Return the first line of a message without its final punctuation, or the name of an error without a message."""
    message = str(error).strip() or type(error).__name__
    return message.splitlines()[0].rstrip(" .:")
