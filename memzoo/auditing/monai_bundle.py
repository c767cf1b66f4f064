"""Read the arguments of one network from a bundle of MONAI, whose expressions are never evaluated.

The format is that of https://monai.readthedocs.io/en/stable/mb_specification.html.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from memzoo._reading import is_file, read_json_object, show_text
from memzoo.errors import AuditInputError, CorruptCheckpointError

CONFIGS = ("configs/inference.json", "configs/train.json")
MOST_NAMED = 5
"""Objects of a bundle that a message names."""
MOST_REFERENCES = 100
"""Most references of one network; each may lead to a list of others."""
WEIGHTS = "models"
"""Folder of a bundle that holds the weights."""


class Bundle(NamedTuple):
    """Hold where a bundle describes its networks, and where their weights are."""

    file: Path
    weights: Path


def find_bundle(folder: Path) -> Bundle | None:
    """Find the bundle that a folder is, or whose weights it holds; None if there is none."""
    root = folder.parent if folder.name == WEIGHTS else folder
    file = next((root / name for name in CONFIGS if is_file(root / name)), None)
    return None if file is None else Bundle(file, root / WEIGHTS)


def read_network(file: Path, name: str) -> dict[str, Any]:
    """Return the arguments of the network of a class.

    Args:
        file: The file of a bundle that describes its networks.
        name: Name of the class, without its module.

    Raises:
        AuditInputError: The bundle has no network of this class, or several.
        CorruptCheckpointError: An argument is an expression.
    """
    content = read_json_object(file)
    networks = {key: value for key, value in content.items() if isinstance(value, dict) and "_target_" in value}
    found = [key for key, value in networks.items() if str(value["_target_"]).rpartition(".")[2] == name]
    if len(found) != 1:
        named = [show_text(f"{key} ({value['_target_']})") for key, value in list(networks.items())[:MOST_NAMED]]
        targets = ", ".join(named) or "nothing"
        raise AuditInputError(f"{file} describes {len(found)} objects of the class {name}, one is needed: {targets}.")
    references = iter(range(MOST_REFERENCES))
    return {key: _resolve(value, content, file, references) for key, value in networks[found[0]].items()}


def _resolve(value: Any, content: dict[str, Any], file: Path, references: Iterator[int]) -> Any:
    """Replace references to plain values of the same file; as many as ``references`` has left."""
    if isinstance(value, list):
        return [_resolve(one, content, file, references) for one in value]
    if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
        return value
    if value[0] == "@" and value[1:] in content:
        if next(references, None) is None:
            raise CorruptCheckpointError(f"{file} has more than {MOST_REFERENCES} references, or a circle of them.")
        return _resolve(content[value[1:]], content, file, references)
    raise CorruptCheckpointError(
        f"{file} computes an argument by '{show_text(value)}', which could run any code and is not evaluated; "
        "write its value there."
    )
