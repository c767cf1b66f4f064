"""What every reproduced figure is: rows of numbers beside the paper's, and a picture."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import memzoo


@dataclass(frozen=True)
class Row:
    """One claim of the paper beside what the checkpoint gives."""

    quantity: str
    paper: str
    ours: float | str
    holds: bool | None
    """None where the paper gives nothing to hold it against."""

    def __str__(self) -> str:
        verdict = {True: "holds", False: "FALLS SHORT", None: "-"}[self.holds]
        ours = f"{self.ours:.4g}" if isinstance(self.ours, float) else self.ours
        return f"{self.quantity:<64} paper {self.paper:<16} ours {ours:<16} {verdict}"


@dataclass(frozen=True)
class Reproduction:
    """A figure made from a checkpoint."""

    figure: str
    title: str
    checkpoint: str
    rows: tuple[Row, ...]
    draw: Callable[[], Any]
    """Returns the matplotlib figure."""

    @property
    def holds(self) -> bool:
        """No claim falls short."""
        return all(row.holds is not False for row in self.rows)

    def __str__(self) -> str:
        return "\n".join([f"{self.title} (from {self.checkpoint})", *(f"  {row}" for row in self.rows)])

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write the picture as PNG and the numbers as JSON; returns both paths."""
        import matplotlib.pyplot as plt

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        picture, numbers = folder / f"{self.figure}.png", folder / f"{self.figure}.json"
        drawn = self.draw()
        drawn.savefig(picture, dpi=200)
        plt.close(drawn)
        content = {
            "figure": self.figure,
            "title": self.title,
            "checkpoint": self.checkpoint,
            "holds": self.holds,
            "rows": [asdict(row) for row in self.rows],
            "versions": {"memzoo": memzoo.__version__, "torch": version("torch")},
        }
        numbers.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return picture, numbers
