"""A figure that was made: rows of numbers beside the paper's, the arrays, and a picture."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

import memzoo

MOST_NUMBERS = 5000  # of an array that is written as JSON
FORMATS = ("png", "pdf")


@dataclass(frozen=True)
class Row:
    """One claim of the paper beside what the checkpoint gives."""

    quantity: str
    paper: str
    ours: float | str
    holds: bool | None
    """None where nothing is claimed: the number is reported."""
    checkpoint: str = ""
    """It was measured on this one."""
    needed: str = ""
    """What it has to be for ``holds``."""

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "holds", False: "FALLS SHORT", None: "reported"}[self.holds]

    @property
    def value(self) -> str:
        """``ours``, as it is shown."""
        return self.ours if isinstance(self.ours, str) else f"{self.ours:.4g}"

    def __str__(self) -> str:
        return f"{self.quantity:<72} paper {self.paper or '-':<16} ours {self.value:<12} {self.verdict}"


@dataclass(frozen=True)
class Reproduction:
    """A figure made from its checkpoints, or the reason why it could not be."""

    figure: str
    title: str
    checkpoints: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    arrays: dict[str, Tensor] = field(default_factory=dict)
    """Everything in the picture."""
    draw: Callable[[], Any] | None = None
    """Returns the matplotlib figure; None where there is no picture."""
    notes: tuple[str, ...] = ()
    caption: str = ""
    failed: str = ""
    """Why there is no picture: a checkpoint is missing or was altered."""
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """It was made, and no claim falls short."""
        return not self.failed and all(row.holds is not False for row in self.rows)

    def __str__(self) -> str:
        head = f"{self.title} (from {', '.join(self.checkpoints)})"
        return "\n".join([head, *([f"  NOT MADE: {self.failed}"] if self.failed else map("  {}".format, self.rows))])

    def save(self, folder: str | Path) -> list[Path]:
        """Write the picture as PNG and PDF and the numbers as JSON; returns the paths.

        A file that is there is replaced in one step, never left half-written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        numbers = folder / f"{self.figure}.json"
        if self.draw is None:
            pictures = []
            for kind in FORMATS:  # of an earlier run, which would be taken for this one's
                (folder / f"{self.figure}.{kind}").unlink(missing_ok=True)
        else:
            pictures = self._save_picture(folder, self.draw)
        aside = numbers.with_suffix(".json.part")
        aside.write_text(json.dumps(self._content(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        aside.replace(numbers)
        return [*pictures, numbers]

    def _save_picture(self, folder: Path, draw: Callable[[], Any]) -> list[Path]:
        import matplotlib as mpl
        import matplotlib.pyplot as plt

        paths = []
        with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):  # text stays text
            drawn = draw()
            for kind in FORMATS:
                path = folder / f"{self.figure}.{kind}"
                aside = folder / f"{self.figure}.part.{kind}"
                drawn.savefig(aside, dpi=200, metadata={"Software": None} if kind == "png" else {"CreationDate": None})
                aside.replace(path)
                paths.append(path)
            plt.close(drawn)
        return paths

    def _content(self) -> dict[str, Any]:
        return {
            "figure": self.figure,
            "title": self.title,
            "checkpoints": list(self.checkpoints),
            "holds": self.holds,
            "failed": self.failed or None,
            "rows": [{**asdict(row), "ours": _finite(row.ours)} for row in self.rows],
            "notes": list(self.notes),
            "arrays": {name: _listed(x) for name, x in self.arrays.items() if x.numel() <= MOST_NUMBERS},
            "seconds": round(self.seconds, 1),
            "versions": {"memzoo": memzoo.__version__, "torch": version("torch")},
        }


def _finite(value: float | str) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _listed(x: Tensor) -> Any:
    """Nested lists, numbers to seven digits; None for what is no number."""

    def listed(part: Any) -> Any:
        if isinstance(part, list):
            return [listed(one) for one in part]
        return float(f"{part:.7g}") if isinstance(part, float) and math.isfinite(part) else _finite(part)

    return listed(x.tolist())
