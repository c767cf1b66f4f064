"""Print the lower bounds that pyproject.toml declares, as constraints for pip.

``make oldest`` installs memzoo with them, so that a bound which does not hold makes its tests fail::

    python tools/lower_bounds.py [PYPROJECT] > constraints.txt
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

BOUNDED = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[\w, -]+\])?\s*>=\s*(?P<version>\d[\w.]*)$")
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def pin(dependencies: Iterable[str]) -> list[str]:
    """Turn requirements such as ``name[extra]>=1.2`` into constraints such as ``name==1.2``.

    Raises:
        ValueError: A requirement declares something else than one lower bound.
    """
    constraints = []
    for requirement in dependencies:
        found = BOUNDED.fullmatch(requirement.strip())
        if found is None:
            raise ValueError(f"{requirement!r} declares no single lower bound; write it as 'name>=version'.")
        constraints.append(f"{found['name']}=={found['version']}")
    return constraints


def read_dependencies(pyproject: Path) -> list[str]:
    """Read the dependencies of the project, without its extras."""
    return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]


if __name__ == "__main__":
    print("\n".join(pin(read_dependencies(Path(sys.argv[1]) if len(sys.argv) > 1 else PYPROJECT))))
