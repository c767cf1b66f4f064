"""Read a JSON file that holds one object."""

import json
from pathlib import Path
from typing import Any

from memzoo.errors import CorruptCheckpointError


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        CorruptCheckpointError: It holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is no JSON: {error}; get it again.") from error
    if not isinstance(found, dict):
        raise CorruptCheckpointError(
            f"{path} holds a {type(found).__name__}; it must be one JSON object with the arguments of the class."
        )
    return found
