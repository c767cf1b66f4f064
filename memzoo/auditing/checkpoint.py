"""Load the trained module of a user: from a checkpoint of Lightning or a folder of another library, and its class."""

import pickle
import re
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from memzoo._reading import is_file, is_folder
from memzoo.auditing.foreign_folder import PICKLES, is_of_memzoo, open_folder, suggest_class
from memzoo.auditing.foreign_module import load_foreign, name_some
from memzoo.auditing.importing import describe_kind, first_line, import_object
from memzoo.errors import AuditInputError, CheckpointMissingError, CorruptCheckpointError
from memzoo.zoo.loading import load


def load_module(checkpoint: str, model: str | None = None) -> nn.Module:
    """Load the module of a checkpoint on the CPU, in eval mode; nothing that a file holds is executed.

    Args:
        checkpoint: One of

            - a file as Lightning's ModelCheckpoint writes it, of a LightningModule;
            - a folder with ``config.json`` and safetensors, as diffusers, transformers and other libraries write it,
              or the safetensors file in such a folder. Sharded safetensors have their index beside them. A class of
              diffusers or transformers is loaded by its own ``from_pretrained``, without network; the constructor of
              any other class takes the keys of ``config.json``;
            - without ``model``, any name that :func:`memzoo.load` takes, and a folder of memzoo.
        model: ``package.module.Class``. It is imported with the current directory on the path, so that the code of that
            module runs.

    Raises:
        AuditInputError: There is no such class, or the checkpoint has to be named in another way.
        CheckpointMissingError: A file is missing.
        CorruptCheckpointError: A file is damaged, is a pickle of more than tensors and plain values, or does not fit
            the class: its arguments, or the names and shapes of its weights.
    """
    path = Path(checkpoint)
    if model is None:
        return _load_without_class(checkpoint, path)
    if "://" in checkpoint:
        raise AuditInputError(
            f"{checkpoint} is no file; checkpoints are not fetched from the network, download it first."
        )
    kind = import_object(model, "--class")
    if is_folder(path) or path.suffix == ".safetensors":
        return load_foreign(_require_module_class(kind, model), open_folder(path, model))
    if not (isinstance(kind, type) and issubclass(kind, LightningModule)):
        raise AuditInputError(_refuse_file(_require_module_class(kind, model), model, checkpoint))
    if not is_file(path):
        raise CheckpointMissingError(f"no checkpoint at {path.absolute()}; give the .ckpt that the training wrote.")
    return _restore(kind, path)


def _load_without_class(checkpoint: str, path: Path) -> nn.Module:
    """Load a checkpoint of memzoo, and say of any other that its class must be named."""
    if is_folder(path):
        if is_of_memzoo(path):
            return load(f"local-dir:{checkpoint}")
        raise AuditInputError(
            f"{checkpoint} is a folder of another library; name the class that was trained: "
            f"--class {suggest_class(path)}."
        )
    # Such a file holds no class. All other names are those of memzoo's own checkpoints.
    if path.suffix in (*PICKLES, ".safetensors"):
        raise AuditInputError(
            f"{checkpoint} holds weights and not the class they belong to; name it: --class package.module.Class."
        )
    return load(checkpoint)


def _require_module_class(kind: Any, model: str) -> type[nn.Module]:
    """Return a class, and raise an error if it is none of modules."""
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        return kind
    raise AuditInputError(f"{model} is no torch.nn.Module class but {describe_kind(kind)}; name the class itself.")


def _refuse_file(kind: type[nn.Module], model: str, checkpoint: str) -> str:
    """Say why a file does not do for a class that is no LightningModule."""
    path = Path(checkpoint)
    if not path.exists():
        return f"no checkpoint at {path.absolute()}; give the folder with config.json and safetensors."
    return (
        f"{model} is no LightningModule, so that {checkpoint} does not say how it is built, and the file may be a "
        "pickle, which can run any code: it was not opened. Give a folder with config.json, the arguments of "
        f"{kind.__name__} by their names, and the weights as safetensors: safetensors.torch.save_model(module, "
        f"{str(path.with_suffix('.safetensors'))!r}), where you trust the file."
    )


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
    # torch and the constructor of the class raise errors of many types for a damaged file, other keys, or missing
    # arguments; they also run out of memory for what a file only declares.
    except Exception as error:
        raise CorruptCheckpointError(
            f"{path} cannot be loaded as {kind.__name__}: {first_line(error)}{_name_keys(error)}. It is damaged, or "
            "of another class, or the class did not call save_hyperparameters() and needs arguments."
        ) from error


def _name_object(error: BaseException) -> str:
    """Name the class of the object that torch refused, if its message names one."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return "" if found is None else f" (the first is of {found.group(1)})"


def _name_keys(error: BaseException) -> str:
    """Name the first keys that the file has beside those of the class, or lacks, and say what a prefix comes from."""
    keys = {}
    for kind in ("Unexpected", "Missing"):
        found = re.search(rf"{kind} key\(s\) in state_dict: (.*)", str(error))
        keys[f"{kind.lower()} keys"] = re.findall(r'"([^"]+)"', found.group(1)) if found else []
    said = name_some(keys)
    return f" ({said})" if said else ""
