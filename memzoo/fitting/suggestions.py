"""Say of an unknown name which names there are, and which one may be meant."""

import difflib
from collections.abc import Sequence
from typing import Any

MANY = 16
"""Names are not all listed if there are more than this and one of them is near."""


def find_near(wrong: Any, names: Sequence[str]) -> str:
    """Return a question for the name nearest to ``wrong``, with a space before it; nothing if none is near."""
    near = difflib.get_close_matches(str(wrong), names, 1)
    return f" Did you mean {near[0]}?" if near else ""


def describe_unknown(where: str, wrong: Any, names: Sequence[str]) -> str:
    """Say that ``where`` has no such setting, and which settings it takes."""
    near = find_near(wrong, names)
    others = "All of them: memzoo fit --help." if near and len(names) > MANY else f"It takes {', '.join(names)}."
    return f"{where} has no {wrong!r}.{near} {others}"
