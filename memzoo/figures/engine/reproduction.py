"""Hold a figure that was made: rows of numbers beside those of the paper, the arrays, and a picture; and save it."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

import memzoo

MOST_NUMBERS = 5000
"""Most elements of an array that is written as JSON."""

METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
"""Formats of the picture, with the metadata left out of each, so that equal pictures are equal files."""


@dataclass(frozen=True)
class Row:
    """Compare one claim of the paper with what the checkpoint gives."""

    quantity: str
    paper: str
    ours: float | str
    holds: bool | None
    """None if nothing is claimed: the number is reported."""
    checkpoint: str = ""
    """Name of the checkpoint on which it was measured."""
    needed: str = ""
    """Value that ``holds`` asks for."""

    @property
    def verdict(self) -> str:
        """Return ``holds`` in words."""
        return {True: "holds", False: "FALLS SHORT", None: "reported"}[self.holds]

    @property
    def value(self) -> str:
        """Return ``ours`` as it is shown."""
        return self.ours if isinstance(self.ours, str) else f"{self.ours:.4g}"

    def __str__(self) -> str:
        return f"{self.quantity:<72} paper {self.paper or '-':<16} ours {self.value:<12} {self.verdict}"


def report_number(quantity: str, ours: float | str, checkpoint: str = "") -> Row:
    """Report a number about which nothing is claimed."""
    return Row(quantity, "", ours, None, checkpoint)


@dataclass(frozen=True)
class Reproduction:
    """Hold a figure that was made from its checkpoints, or the reason why it could not be made."""

    figure: str
    title: str
    checkpoints: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    arrays: dict[str, Tensor] = field(default_factory=dict)
    """Everything in the picture."""
    draw: Callable[[], Any] | None = None
    """Returns the matplotlib figure; None if there is no picture."""
    notes: tuple[str, ...] = ()
    caption: str = ""
    failed: str = ""
    """Why there is no picture: for example, a checkpoint is missing or was altered."""
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Tell whether the figure was made and no claim falls short."""
        return not self.failed and all(row.holds is not False for row in self.rows)

    def __str__(self) -> str:
        head = f"{self.title} (from {', '.join(self.checkpoints)})"
        body = [f"NOT MADE: {self.failed}"] if self.failed else self.rows
        return "\n".join([head, *(f"  {line}" for line in body)])

    def save(self, folder: str | Path) -> list[Path]:
        """Write the picture as PNG and PDF and the numbers as JSON, and return the paths.

        A file that exists already is replaced in one step and is never left half-written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # the picture comes first: if it cannot be drawn, no numbers of this run are left beside an older picture
        if self.draw is None:
            self._remove_pictures(folder)
            pictures = []
        else:
            pictures = self._save_pictures(folder, self.draw)
        numbers = folder / f"{self.figure}.json"
        aside = numbers.with_suffix(".json.part")
        text = json.dumps(self._to_json(), indent=1, allow_nan=False)
        aside.write_text(f"{text}\n", encoding="utf-8")
        aside.replace(numbers)
        return [*pictures, numbers]

    def _remove_pictures(self, folder: Path) -> None:
        """Remove the pictures of an earlier run, which a reader would take for pictures of this one."""
        for kind in METADATA:
            (folder / f"{self.figure}.{kind}").unlink(missing_ok=True)

    def _save_pictures(self, folder: Path, draw: Callable[[], Any]) -> list[Path]:
        import matplotlib as mpl
        import matplotlib.pyplot as plt

        paths = []
        with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):  # text stays text
            picture = draw()
            for kind, metadata in METADATA.items():
                path = folder / f"{self.figure}.{kind}"
                aside = folder / f"{self.figure}.part.{kind}"
                picture.savefig(aside, dpi=200, metadata=metadata)
                aside.replace(path)
                paths.append(path)
            plt.close(picture)
        return paths

    def _to_json(self) -> dict[str, Any]:
        small = {name: x for name, x in self.arrays.items() if x.numel() <= MOST_NUMBERS}
        return {
            "figure": self.figure,
            "title": self.title,
            "checkpoints": list(self.checkpoints),
            "holds": self.holds,
            "failed": self.failed or None,
            "rows": [{**asdict(row), "ours": _replace_nonfinite(row.ours)} for row in self.rows],
            "notes": list(self.notes),
            "arrays": {name: _round_numbers(x.tolist()) for name, x in small.items()},
            "seconds": round(self.seconds, 1),
            "versions": {"memzoo": memzoo.__version__, "torch": version("torch")},
        }


def _replace_nonfinite(value: float | str) -> float | str | None:
    """Replace NaN and infinity, for which JSON has no numbers, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _round_numbers(part: Any) -> Any:
    """Round the numbers of nested lists to seven digits."""
    if isinstance(part, list):
        return [_round_numbers(one) for one in part]
    if isinstance(part, float) and math.isfinite(part):
        return float(f"{part:.7g}")
    return _replace_nonfinite(part)
