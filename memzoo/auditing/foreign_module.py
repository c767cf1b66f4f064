"""Build the module of another library from its configuration, and give it all of its weights and no others."""

import dataclasses
import inspect
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from memzoo._attempt import Attempt, is_out_of_memory
from memzoo._reading import refuse_other_formats, show_text
from memzoo._user_warning import warn_user
from memzoo.auditing.foreign_folder import INDEX, ForeignFolder
from memzoo.auditing.importing import first_line
from memzoo.errors import CorruptCheckpointError, MemzooError
from memzoo.zoo.loading import limit_parameters
from memzoo.zoo.registry import read_tensors

LIBRARIES = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""Libraries whose own loader is used, with the name that they give to weights: it renames the keys of older versions,
ties weights, and reports what was missing."""
ABOUT = {
    "architectures",
    "data_range",
    "dtype",
    "image_mean",
    "image_std",
    "input_range",
    "library_name",
    "model_type",
    "name",
    "pretrained",
    "torch_dtype",
    "transformers_version",
    "value_range",
}
"""Keys of a configuration that say something of the network and its data, where the constructor does not take them."""
ALWAYS_ALLOWED = 2**23
"""Numbers that any network may have, however few weights it came with."""
MOST_A_BYTE = 2
"""Numbers for each byte of the weights: eight times as many as in float32, as some layers are made and left out."""
NAMED = 3
"""Names of a kind that a message lists."""


def load_foreign(kind: type[nn.Module], folder: ForeignFolder) -> nn.Module:
    """Build a module of a class from a folder, in eval mode; the global random generator keeps its state.

    Raises:
        CorruptCheckpointError: The configuration does not fit the class, or the weights do not fit the module.
    """
    for path in folder.weights:
        refuse_other_formats(path)
    stem = _find_weights_name(kind)
    stored = sum(path.stat().st_size for path in folder.weights)
    problem = (
        f"{folder.config_file} describes a network of more numbers than {folder.described} holds, which has {stored:,} "
        "bytes: the two do not belong together."
    )
    limit = limit_parameters(math.inf, max(ALWAYS_ALLOWED, MOST_A_BYTE * stored), problem)
    try:
        with torch.random.fork_rng(devices=[]), _offline(), _float32(), limit:
            if stem is not None:
                module = _load_by_library(kind, folder, stem)
            else:
                module = _build(kind, folder)
                _fill(module, folder)
    except MemzooError:
        raise
    # The code of a class may raise any error for arguments that it cannot work with.
    except Exception as error:
        if is_out_of_memory(error):
            raise CorruptCheckpointError(
                f"{folder.path} cannot be loaded as {kind.__name__}: there is not enough memory for the network that "
                f"{folder.config_file.name} describes."
            ) from error
        raise CorruptCheckpointError(
            f"{folder.path} cannot be loaded as {kind.__name__}: {first_line(error)}. {folder.config_file.name} does "
            f"not fit the class or the weights{_name_other_class(kind, folder)}."
        ) from error
    return module.eval()


def name_some(found: Mapping[str, Sequence[str]]) -> str:
    """Name the first keys of each kind that has any, and say what a prefix comes from."""
    said = [
        f"{kind} {', '.join(map(show_text, keys[:NAMED]))}{f', ... ({len(keys)} in all)' if len(keys) > NAMED else ''}"
        for kind, keys in found.items()
        if keys
    ]
    if any("_orig_mod." in text for text in said):
        said.append("_orig_mod. is the prefix of a module that torch.compile has wrapped: remove it from the keys")
    return "; ".join(said)


# The loader of a library -------------------------------------------------------------------------------------------


def _find_weights_name(kind: type[nn.Module]) -> str | None:
    """Return the name that the library of a class gives to weights; None for a class of no such library."""
    for base in kind.__mro__:
        library = base.__module__.partition(".")[0]
        if library in LIBRARIES and "from_pretrained" in vars(base):
            return LIBRARIES[library]
    return None


def _load_by_library(kind: Any, folder: ForeignFolder, stem: str) -> nn.Module:
    """Let the library load a copy of the folder that holds nothing but the configuration and safetensors."""
    if stem == LIBRARIES["diffusers"]:
        _warn_of_ignored_keys(kind, folder)
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    if stem == LIBRARIES["transformers"]:
        # The configuration may name another implementation, which would be fetched as code from the Hub.
        options["attn_implementation"] = "eager"
    with TemporaryDirectory() as place:
        _link_files(folder, Path(place), stem)
        try:
            module, info = kind.from_pretrained(place, **options)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            text = first_line(error).replace(place, str(folder.path))
            raise CorruptCheckpointError(
                f"{folder.path} cannot be loaded as {kind.__name__}: {text}{_name_other_class(kind, folder)}."
            ) from error
    keys = {
        "missing keys": sorted(info.get("missing_keys") or []),
        "unexpected keys": sorted(info.get("unexpected_keys") or []),
        "keys of another shape": sorted(str(found[0]) for found in info.get("mismatched_keys") or []),
        "errors": [str(error) for error in info.get("error_msgs") or []],
    }
    _refuse_keys(keys, kind, folder)
    is_half = any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in module.parameters())
    return module.float() if is_half else module


def _link_files(folder: ForeignFolder, place: Path, stem: str) -> None:
    """Link the files of a folder under the names that a library looks for."""
    shutil.copyfile(folder.config_file, place / "config.json")
    if folder.index is None:
        (place / f"{stem}.safetensors").symlink_to(folder.weights[0].absolute())
        return
    shutil.copyfile(folder.index, place / f"{stem}{INDEX}")
    for path in folder.weights:
        (place / path.name).symlink_to(path.absolute())


def _warn_of_ignored_keys(kind: type[nn.Module], folder: ForeignFolder) -> None:
    """Warn of keys that the constructor does not take: diffusers leaves them out, whatever they would change."""
    unknown, _ = _compare_arguments(kind, _list_arguments(folder.config))
    if unknown:
        warn_user(
            f"{kind.__name__} does not take {name_some({'the keys': unknown})} of {folder.config_file}, which are "
            "ignored: if they change what the network computes, the installed version is not the one that wrote them."
        )


@contextmanager
def _offline() -> Iterator[None]:
    """Refuse every request to the Hub, also where a class would fetch something."""
    from huggingface_hub import constants  # takes a while, and most audits need no Hub

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _float32() -> Iterator[None]:
    """Build parameters in float32, whatever the default of the caller is."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# Any class ---------------------------------------------------------------------------------------------------------


def _build(kind: type[nn.Module], folder: ForeignFolder) -> nn.Module:
    """Call the constructor with the keys of a configuration, or with the configuration object that it takes."""
    arguments = _list_arguments(folder.config)
    config_type = _find_config_type(kind, arguments)
    if config_type is not None:
        is_plain = dataclasses.is_dataclass(config_type)
        return kind(_call(config_type, arguments, folder) if is_plain else config_type.from_dict(arguments))
    return _call(kind, arguments, folder)


def _list_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments in a configuration, without those that say which class and version wrote it."""
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _find_config_type(kind: type[nn.Module], arguments: dict[str, Any]) -> Any:
    """Return the class of the configuration object that a constructor takes; None if it takes plain arguments."""
    with Attempt(Exception):  # annotations may name what is not there at run time
        parameters = inspect.signature(kind, eval_str=True).parameters.values()
        required = [parameter for parameter in parameters if _is_required(parameter)]
        if len(required) == 1 and required[0].name not in arguments:
            annotation = required[0].annotation
            is_named = isinstance(annotation, type) and annotation is not inspect.Parameter.empty
            declared = annotation if is_named else getattr(kind, "config_class", None)
            is_config = dataclasses.is_dataclass(declared) or hasattr(declared, "from_dict")
            return declared if is_config else None
    return None


def _call(kind: Any, arguments: dict[str, Any], folder: ForeignFolder) -> Any:
    """Call a constructor with its arguments; raise an error if it does not take some, or needs others."""
    unknown, missing = _compare_arguments(kind, arguments)
    if unknown or missing:
        named = name_some({"it does not take": unknown, "it needs": missing})
        raise CorruptCheckpointError(
            f"{folder.config_file} does not fit {kind.__name__}: {named}; its arguments are "
            f"{', '.join(inspect.signature(kind).parameters) or 'none'}{_name_other_class(kind, folder)}."
        )
    parameters = inspect.signature(kind).parameters
    taken = {name: value for name, value in arguments.items() if _takes(parameters, name)}
    return kind(**{name: _convert(parameters.get(name), value) for name, value in taken.items()})


def _convert(parameter: inspect.Parameter | None, value: Any) -> Any:
    """Return an argument as the constructor takes it: a tuple, which JSON does not have, where it declares one."""
    if parameter is None or not isinstance(value, list):
        return value
    # The annotation may be a string.
    declares_tuple = re.match(r"(typing\.)?tuple\b", str(parameter.annotation), re.IGNORECASE)
    is_tuple = declares_tuple or parameter.annotation is tuple or isinstance(parameter.default, tuple)
    return tuple(value) if is_tuple else value


def _compare_arguments(kind: Any, arguments: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the arguments that a constructor does not take, and those that it needs beside them."""
    parameters = inspect.signature(kind).parameters
    unknown = [name for name in arguments if name not in ABOUT and not _takes(parameters, name)]
    missing = [one.name for one in parameters.values() if _is_required(one) and one.name not in arguments]
    return unknown, missing


def _takes(parameters: Mapping[str, inspect.Parameter], name: str) -> bool:
    """Tell whether a constructor with these parameters takes an argument of this name."""
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return name in parameters or (takes_any and name not in ABOUT)


def _is_required(parameter: inspect.Parameter) -> bool:
    """Tell whether a parameter has to be given."""
    is_list = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not is_list


def _fill(module: nn.Module, folder: ForeignFolder) -> None:
    """Give a module its weights: each tensor of the files, and nothing but these."""
    tensors: dict[str, Tensor] = {}
    for path in folder.weights:
        tensors |= read_tensors(path)
    if any(tensor.dtype == torch.float64 for tensor in tensors.values()):
        module.double()  # so that no digits are lost
    wanted: dict[str, Tensor] = module.state_dict(keep_vars=True)
    # One tensor may have several names, of which a file holds one.
    filled = {id(wanted[name]) for name in tensors if name in wanted}
    keys = {
        "missing keys": sorted(name for name, one in wanted.items() if name not in tensors and id(one) not in filled),
        "unexpected keys": sorted(tensors.keys() - wanted.keys()),
        "keys of another shape": [
            f"{name}, stored {_describe(tensor)}, needed {_describe(wanted[name])}"
            for name, tensor in tensors.items()
            if name in wanted and not _fits(tensor, wanted[name])
        ],
    }
    _refuse_keys(keys, type(module), folder)
    module.load_state_dict(tensors, strict=False)  # the names of one tensor apart, they were compared above


def _fits(stored: Tensor, wanted: Tensor) -> bool:
    """Tell whether a stored tensor has the shape of another, and numbers of its kind."""
    return stored.shape == wanted.shape and stored.is_floating_point() == wanted.is_floating_point()


def _describe(tensor: Tensor) -> str:
    """Describe the shape and the type of a tensor."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _refuse_keys(keys: dict[str, list[str]], kind: type[nn.Module], folder: ForeignFolder) -> None:
    """Raise if there are keys of any kind that do not fit."""
    if any(keys.values()):
        raise CorruptCheckpointError(
            f"{folder.described} does not fit {kind.__name__} as {folder.config_file.name} describes it: "
            f"{name_some(keys)}; the file is of another network{_name_other_class(kind, folder)}."
        )


def _name_other_class(kind: Any, folder: ForeignFolder) -> str:
    """Say which class a configuration names, if it is not the one that the user named."""
    name = folder.class_name
    is_other = name is not None and name not in {base.__name__ for base in getattr(kind, "__mro__", [])}
    return f" ({folder.config_file.name} is of the class {name})" if is_other else ""
