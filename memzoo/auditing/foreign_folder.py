"""Find what a folder of another library holds: one configuration and one set of weights, in files that run no code."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memzoo._reading import is_file, is_folder, read_json_object, show_text
from memzoo.auditing.monai_bundle import find_bundle, read_network
from memzoo.errors import AuditInputError, CheckpointMissingError, CorruptCheckpointError

CONFIGS = ("config.json", "model_config.json")
"""Names of the file that holds the arguments of the class; the second is that of pythae."""
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
"""Ends of the names of files that may be pickles, and are never opened."""
INDEX = ".safetensors.index.json"
"""End of the name of the file that says which of several files holds which tensor."""
LONGEST_NAME = 255
"""Bytes of the name of a file; file systems have no longer ones."""
LISTED = 6
"""Files of a folder that a message names."""


@dataclass(frozen=True)
class ForeignFolder:
    """Hold the configuration and the names of the files with the weights."""

    path: Path
    config_file: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    index: Path | None
    """The index of several files with weights; None for one file."""

    @property
    def described(self) -> str:
        """Return the name of the weights for a message."""
        return str(self.index or self.weights[0])

    @property
    def class_name(self) -> str | None:
        """Return the name of the class that the configuration is of, if it says so."""
        return _find_class_name(self.config)


def open_folder(path: Path, model: str) -> ForeignFolder:
    """Read the configuration of a folder and find its weights.

    Args:
        path: The folder; or one safetensors file in it, if it holds several.
        model: The class that the user named, for messages.

    Raises:
        CheckpointMissingError: There is no such folder, or no configuration or no weights in it.
        CorruptCheckpointError: The configuration cannot be read, needs code from elsewhere, or the weights are pickles.
        AuditInputError: There are several weights, or the folder is one of memzoo or of several networks.
    """
    if not path.exists():
        raise CheckpointMissingError(f"no checkpoint at {path.absolute()}; check the name.")
    folder = path if is_folder(path) else path.parent
    bundle = None if _find_plain_config(folder) is not None else find_bundle(folder)
    if bundle is not None:
        config_file = bundle.file
        config = read_network(bundle.file, model.rpartition(".")[2])
        folder = bundle.weights
    else:
        config_file = _find_config(folder)
        config = read_json_object(config_file)
    if is_of_memzoo(folder):
        raise AuditInputError(f"{folder} is a checkpoint of memzoo, which knows its class; leave --class out.")
    _refuse_config(config_file, config)
    if not is_folder(path):
        return ForeignFolder(folder, config_file, config, (path,), None)
    index = _find_index(folder)
    weights = _find_weights(folder, model) if index is None else _read_index(index)
    return ForeignFolder(folder, config_file, config, weights, index)


def is_of_memzoo(folder: Path) -> bool:
    """Tell whether a folder is a checkpoint of memzoo, by the keys of its configuration."""
    file = folder / CONFIGS[0]
    return is_file(file) and {"architecture", "fingerprint"} <= read_json_object(file).keys()


def suggest_class(folder: Path) -> str:
    """Return the class that a configuration names, with its package where its keys tell it; else a placeholder."""
    config = read_json_object(_find_config(folder))
    name = _find_class_name(config)
    packages = {"_diffusers_version": "diffusers", "transformers_version": "transformers"}
    package = next((package for key, package in packages.items() if key in config), "package.module")
    return f"{package}.{name or 'Class'}"


def _find_class_name(config: dict[str, Any]) -> str | None:
    """Return the name of the class that a configuration is of, as diffusers, transformers and MONAI write it."""
    names = [config.get("_class_name"), config.get("_target_"), config.get("architectures")]
    for name in names:
        first = name[0] if isinstance(name, list) and name else name
        if isinstance(first, str):
            return show_text(first.rpartition(".")[2])
    return None


def _find_plain_config(folder: Path) -> Path | None:
    """Return the file with the configuration of the one network of a folder; None if there is none."""
    return next((folder / name for name in CONFIGS if is_file(folder / name)), None)


def _find_config(folder: Path) -> Path:
    """Return the file with the configuration."""
    found = _find_plain_config(folder)
    if found is not None:
        return found
    pipeline = folder / "model_index.json"
    if is_file(pipeline):
        inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
        raise AuditInputError(
            f"{folder} holds a pipeline of several networks ({', '.join(inner)}); give the folder of one, such as "
            f"{folder / (inner[0] if inner else 'vae')}."
        )
    raise CheckpointMissingError(
        f"{folder / CONFIGS[0]} is missing; it is one JSON object with the arguments of the class by their names. "
        f"The folder holds {_list_files(folder)}."
    )


def _refuse_config(path: Path, config: dict[str, Any]) -> None:
    """Raise if a configuration needs more than the class that the user named and the weights beside it."""
    code = _find_value(config, "auto_map")
    if code:
        raise CorruptCheckpointError(
            f"{path} needs code that came with the weights (auto_map: {show_text(json.dumps(code))}), which is not "
            "executed. If an installed package has this class, name it and remove auto_map from a copy of the file."
        )
    if _find_value(config, "quantization_config"):
        raise CorruptCheckpointError(
            f"{path} describes quantised weights (quantization_config); give the network in floating point."
        )
    if _find_value(config, "pretrained"):
        raise CorruptCheckpointError(
            f"{path} asks for pretrained weights from elsewhere; a checkpoint brings its own: set pretrained to false."
        )


def _find_value(config: Any, key: str) -> Any:
    """Return the first value under a key that is set anywhere in a configuration, in those of its parts too."""
    if isinstance(config, dict) and config.get(key):
        return config[key]
    parts = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    return next((found for part in parts if (found := _find_value(part, key))), None)


def _find_index(folder: Path) -> Path | None:
    """Return the index of weights in several files; None if there is none."""
    found = sorted(folder.glob(f"*{INDEX}"))
    if len(found) > 1:
        raise AuditInputError(
            f"{folder} holds {len(found)} sets of weights ({_name_files(found)}); put one of them with "
            f"{CONFIGS[0]} into a folder of its own."
        )
    return found[0] if found else None


def _read_index(index: Path) -> tuple[Path, ...]:
    """Return the files that an index names, all of which are in its folder."""
    folder = index.parent
    places = read_json_object(index).get("weight_map")
    if not (isinstance(places, dict) and places and all(isinstance(name, str) for name in places.values())):
        raise CorruptCheckpointError(f"{index} has no weight_map from names of tensors to files; get it again.")
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors") or len(name.encode()) > LONGEST_NAME:
            raise CorruptCheckpointError(f"{index} names '{show_text(name)}', which is no safetensors file beside it.")
        if not is_file(folder / name):
            raise CheckpointMissingError(
                f"{folder / show_text(name)} is missing, and {index.name} names it; get it again."
            )
    _refuse_others(folder, {*names})
    return tuple(folder / name for name in names)


def _find_weights(folder: Path, model: str) -> tuple[Path, ...]:
    """Return the one safetensors file of a folder."""
    found = sorted(folder.glob("*.safetensors"))
    if found:
        _refuse_others(folder, {found[0].name})
        return (found[0],)
    pickles = sorted(path for path in folder.glob("*") if path.suffix in PICKLES)
    if pickles:
        raise CorruptCheckpointError(_refuse_pickles(pickles, model))
    raise CheckpointMissingError(
        f"{folder} holds no weights: there is no .safetensors file among {_list_files(folder)}."
    )


def _refuse_others(folder: Path, names: set[str]) -> None:
    """Raise if a folder holds more safetensors files than those of one set of weights."""
    found = sorted(folder.glob("*.safetensors"))
    if {path.name for path in found} - names:
        raise AuditInputError(
            f"{folder} holds more than one set of weights ({_name_files(found)}); name the file itself, such as "
            f"{found[0]}."
        )


def _refuse_pickles(files: list[Path], model: str) -> str:
    """Say that weights are pickles, and how they become safetensors."""
    folder = files[0].parent
    kind = model.rpartition(".")[2]
    if model.startswith(("diffusers.", "transformers.")):
        how = f"{kind}.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
    else:
        target = str(folder / "model.safetensors")
        how = (
            f"tensors = torch.load({str(files[0])!r}, weights_only=True), of which the dict of tensors may be one "
            f"entry such as 'state_dict' or 'model_state_dict', and safetensors.torch.save_file(tensors, {target!r})"
        )
    return (
        f"{_name_files(files)} in {folder} may be pickles, which can run any code, and were not opened. Convert them "
        f"to safetensors where you trust them: {how}."
    )


def _list_files(folder: Path) -> str:
    """Name the files of a folder."""
    return _name_files(sorted(folder.glob("*"))) or "nothing"


def _name_files(files: list[Path]) -> str:
    """Name the first of some files."""
    named = ", ".join(show_text(file.name) for file in files[:LISTED])
    return f"{named}, ..." if len(files) > LISTED else named
