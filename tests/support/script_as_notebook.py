"""A script in cells (``# %%``) as the notebook that shows the same.

Run as a script it writes the notebook: ``python tests/support/script_as_notebook.py examples/tutorial.py``.
"""

import json
import sys
from pathlib import Path
from typing import Any


def cells(source: str) -> list[tuple[str, str]]:
    """Yield ``(kind, text)`` of each cell, ``"markdown"`` or ``"code"``."""
    found = []
    for block in ("\n" + source).split("\n# %%")[1:]:
        head, _, body = block.partition("\n")
        if head.strip() == "[markdown]":
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()]
            found.append(("markdown", "\n".join(lines)))
        else:
            found.append(("code", body.strip()))
    return found


def notebook(source: str) -> dict[str, Any]:
    """Return the script in Jupyter's format, version 4.5, without outputs."""
    made = []
    for number, (kind, text) in enumerate(cells(source)):
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def main(script: str) -> None:
    """Write it beside the script."""
    path = Path(script)
    path.with_suffix(".ipynb").write_text(json.dumps(notebook(path.read_text()), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
